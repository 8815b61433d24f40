"""Starts, shares and stops the server of a folder.

In the folder: `server.lock`, held by the server itself for as long as it lives (it inherits the open file, and the
kernel lets go when it dies, however it dies); `server.json`, where to find it; `server.log`; and its data.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from busredis.errors import BusError
from busredis.server.binary import find_binary
from busredis.server.probe import Answer, ask

_POLL_S = 0.01
_FIRST_PORT, _PORTS = 6400, 600  # below the range from which systems take ephemeral ports
_LOG_LINES = 12


class ServerFailed(BusError):
    """The embedded server could not be started, found or stopped; the message ends with its last log lines."""

    def __init__(self, folder: Path, what: str, log: str = "") -> None:
        self.folder = folder
        lines = [f"\n    {line}" for line in log.splitlines() if line.strip()]
        super().__init__(f"the embedded server of {folder} {what}{''.join(lines[-_LOG_LINES:])}")


class EmbeddedServer:
    """A real server with its data in `folder` (default: `.busredis` here), one for all who ask for that folder.

    It writes an append-only file, never evicts anything, listens on loopback only, and comes back on the same port
    with the same data. It outlives the program that started it, Ctrl-C included, until someone stops it.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        appendfsync: str = "everysec",
        timeout: float = 10.0,
    ) -> None:
        self.folder = (folder or Path(".busredis")).absolute()
        self._wanted_port = port
        self._appendfsync = appendfsync
        self._timeout = timeout
        self._launch_id = uuid.uuid4().hex[:12]
        self._found: tuple[int, Answer] | None = None

    def start(self) -> str:
        """The URL of this folder's server, started if none runs; one that runs is shared, whatever its port.

        Any number of processes may call this at once: they get one server. Raises ServerNotFound when none is
        installed, ServerFailed when it does not start or is not ready in time.
        """
        self._make_folder()
        deadline = time.monotonic() + self._timeout
        ports = self._free_ports()
        log_from: int | None = None
        while True:
            lock = self._take_lock()
            if lock is not None:
                try:
                    log_from = self._launch(ports, lock, log_from)
                finally:
                    os.close(lock)
            found = self._look()
            if found is not None and found[1].ready:
                return self._share(found)
            if time.monotonic() > deadline:
                raise ServerFailed(self.folder, self._why_not_ready(found), self._log(log_from or 0))
            time.sleep(_POLL_S)

    def stop(self, *, force: bool = False) -> bool:
        """Stop the server if this object started it, or in any case with `force`. True if one was stopped.

        It gets SIGTERM and time to write its data, and SIGKILL only when the timeout has passed. A process that does
        not prove to be this folder's server is never touched.
        """
        mine = self._state().get("launch") == self._launch_id
        if not (mine or force) or not self._is_locked():
            return False
        found = self._look()
        if found is None:
            raise ServerFailed(self.folder, f"(pid {self._pid_told()}) does not answer; it was not stopped")
        port, server = found
        if not (self._ends(server.pid, signal.SIGTERM) or self._ends(server.pid, signal.SIGKILL)):
            raise ServerFailed(self.folder, f"(pid {server.pid}) does not end", self._log())
        self._found = None
        lock = self._take_lock()
        if lock is not None:  # else the next one starts already, and has written where it is
            self._remember(port=port)
            os.close(lock)
        return True

    def running_url(self) -> str | None:
        """The URL of this folder's server if one runs and is ready. Starts and changes nothing."""
        self._found = self._look()
        return self.url if self._found is not None and self._found[1].ready else None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def port(self) -> int:
        return self._known()[0]

    @property
    def pid(self) -> int:
        return self._known()[1].pid

    @property
    def version(self) -> str:
        """Such as `valkey 9.1.2`."""
        return self._known()[1].version

    @property
    def redis_cli(self) -> str:
        """The command that looks inside, with the client that is installed here."""
        only_valkey = shutil.which("valkey-cli") and not shutil.which("redis-cli")
        return f"{'valkey-cli' if only_valkey else 'redis-cli'} -p {self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, ports: Iterator[int], lock: int, log_from: int | None) -> int:
        """Start a server on the next free port; returns where its part of the log begins."""
        if log_from is not None and "already in use" not in self._log(log_from):
            raise ServerFailed(self.folder, "ended while it started; its log:", self._log(log_from))
        binary = find_binary()
        port = next(ports, None)
        if port is None:
            taken = self._wanted_port or f"{_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}"
            raise ServerFailed(self.folder, f"cannot listen: port {taken} is taken")
        log_from = self._log_size()
        # Written before it runs: whoever finds the lock taken knows where to ask.
        self._remember(port=port, binary=str(binary), launch=self._launch_id)
        self._spawn(binary, port, lock, log_from)
        return log_from

    def _spawn(self, binary: Path, port: int, lock: int, log_from: int) -> None:
        options = {"port": str(port), "bind": "127.0.0.1", "logfile": "server.log", "pidfile": "server.pid"}
        options |= {"appendonly": "yes", "appendfsync": self._appendfsync, "save": ""}
        options |= {"maxmemory-policy": "noeviction", "daemonize": "yes"}
        with (self.folder / "server.log").open("ab") as log:
            try:
                done = subprocess.run(  # noqa: S603 - the program that find_binary chose
                    [
                        str(binary),
                        *(text for name, value in options.items() for text in (f"--{name}", value)),
                    ],
                    cwd=self.folder,
                    env={
                        **os.environ,
                        "LC_ALL": "C",
                    },  # Redis does not start in a locale that is not installed
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    timeout=self._timeout,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerFailed(self.folder, f"did not start: {error}") from error
        if done.returncode != 0:
            raise ServerFailed(self.folder, f"did not start; {binary} says:", self._log(log_from))

    def _share(self, found: tuple[int, Answer]) -> str:
        self._found = found
        state = self._state()
        if state.get("launch") == self._launch_id:
            server = {"pid": found[1].pid, "version": found[1].version, "url": self.url}
            self._remember(**(state | server))
        return self.url

    def _ends(self, pid: int, number: signal.Signals) -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if not self._is_locked():
                return True
            other = self._look()
            if other is not None and other[1].pid != pid:
                return True
            time.sleep(_POLL_S)
        return False

    def _look(self) -> tuple[int, Answer] | None:
        """The port and the server of this folder, if it answers and names this folder as its own."""
        port = self._port_told() or self._first_port()
        server = ask(port)
        if server is None or server.folder.resolve() != self.folder.resolve():
            return None
        return port, server

    def _known(self) -> tuple[int, Answer]:
        if self._found is None:
            raise ServerFailed(self.folder, "is not started: call start() or running_url() first")
        return self._found

    def _why_not_ready(self, found: tuple[int, Answer] | None) -> str:
        if found is not None:
            return f"still reads its data after {self._timeout:g} s; it goes on reading, try again later. Its log:"
        return f"(pid {self._pid_told()}) did not answer within {self._timeout:g} s; its log:"

    def _free_ports(self) -> Iterator[int]:
        if self._wanted_port is not None:
            candidates = [self._wanted_port]
        else:
            first = self._first_port() - _FIRST_PORT
            candidates = [_FIRST_PORT + (first + step) % _PORTS for step in range(_PORTS)]
            told = self._port_told()
            candidates = [told, *candidates] if told else candidates
        return (port for port in candidates if _is_free(port))

    def _first_port(self) -> int:
        # Each folder has its own first choice, so that a printed redis-cli line rarely comes to mean another folder.
        return _FIRST_PORT + zlib.crc32(os.fsencode(self.folder.resolve())) % _PORTS

    def _port_told(self) -> int | None:
        port = self._state().get("port")
        return port if isinstance(port, int) and 0 < port < 65_536 else None

    def _pid_told(self) -> str:
        try:
            return (self.folder / "server.pid").read_text().strip()
        except OSError:
            return "unknown"

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / "server.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _remember(self, **state: Any) -> None:
        new = self.folder / f"server.json.{self._launch_id}"
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.folder / "server.json")

    def _make_folder(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n")

    def _take_lock(self) -> int | None:
        lock = os.open(self.folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _is_locked(self) -> bool:
        if not self.folder.exists():
            return False
        lock = self._take_lock()
        if lock is None:
            return True
        os.close(lock)
        return False

    def _log_size(self) -> int:
        log = self.folder / "server.log"
        return log.stat().st_size if log.exists() else 0

    def _log(self, start: int = 0) -> str:
        try:
            return (self.folder / "server.log").read_bytes()[start:].decode(errors="replace")
        except OSError:
            return ""


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
