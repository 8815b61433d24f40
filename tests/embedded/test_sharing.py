"""The embedded server: one real server a folder, shared, restarted and stopped."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.embedded.conftest import MakeServer, is_gone, say
from tests.waiting import wait_until

START = """
import sys
from pathlib import Path
from busredis.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.start(), server.pid)
"""


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
