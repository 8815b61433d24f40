"""What the folder of the embedded server says of a server, and what is believed of it."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from busredis.server import ServerFailed
from busredis.server.probe import ask
from tests.embedded.conftest import MakeServer, say
from tests.servers import TestServer, free_port


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
