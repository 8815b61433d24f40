"""The embedded server, made for a folder of its own, and what tells from outside how it is."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from busredis.server import EmbeddedServer
from tests.servers import chosen_server

MakeServer = Callable[..., EmbeddedServer]


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
