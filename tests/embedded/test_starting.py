"""The embedded server: where it answers, how it is set up, and on which port."""

import json
import os
import socket
from pathlib import Path

import pytest

from busredis.server import EmbeddedServer, ServerFailed
from tests.embedded.conftest import MakeServer, say
from tests.servers import free_port


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


def test_nothing_is_known_before_start(folder: Path) -> None:
    with pytest.raises(ServerFailed, match=r"is not started: call start\(\)"):
        _ = EmbeddedServer(folder).url
