"""Starts, shares and stops the server of a folder."""

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
from typing import Self

from busredis.errors import BusError
from busredis.server.binary import find_binary
from busredis.server.folder import ServerFolder
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
        self._files = ServerFolder(self.folder)
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
        self._files.make()
        deadline = time.monotonic() + self._timeout
        ports = self._free_ports()
        log_from: int | None = None
        while True:
            lock = self._files.take_lock()
            if lock is not None:
                try:
                    log_from = self._launch(ports, lock, log_from)
                finally:
                    os.close(lock)
            found = self._look()
            if found is not None and found[1].ready:
                return self._share(found)
            if time.monotonic() > deadline:
                raise ServerFailed(self.folder, self._why_not_ready(found), self._files.log(log_from or 0))
            time.sleep(_POLL_S)

    def stop(self, *, force: bool = False) -> bool:
        """Stop the server if this object started it, or in any case with `force`. True if one was stopped.

        It gets SIGTERM and time to write its data, and SIGKILL only when the timeout has passed. A process that does
        not prove to be this folder's server is never touched.
        """
        mine = self._files.state().get("launch") == self._launch_id
        found = self._look_patiently() if mine or force else None
        if found is None:
            return False
        port, server = found
        if not (self._ends(server.pid, signal.SIGTERM) or self._ends(server.pid, signal.SIGKILL)):
            raise ServerFailed(self.folder, f"(pid {server.pid}) does not end", self._files.log())
        self._found = None
        lock = self._files.take_lock()
        if lock is not None:  # else the next one starts already, and has written where it is
            self._files.write_state(port=port)
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
        if log_from is not None and "already in use" not in self._files.log(log_from):
            raise ServerFailed(self.folder, "ended while it started; its log:", self._files.log(log_from))
        binary = find_binary()
        port = next(ports, None)
        if port is None:
            taken = self._wanted_port or f"{_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}"
            raise ServerFailed(self.folder, f"cannot listen: port {taken} is taken")
        log_from = self._files.log_size()
        # Written before it runs: whoever finds the lock taken knows where to ask.
        self._files.write_state(port=port, binary=str(binary), launch=self._launch_id)
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
            raise ServerFailed(self.folder, f"did not start; {binary} says:", self._files.log(log_from))

    def _share(self, found: tuple[int, Answer]) -> str:
        self._found = found
        state = self._files.state()
        if state.get("launch") == self._launch_id:
            server = {"pid": found[1].pid, "version": found[1].version, "url": self.url}
            self._files.write_state(**(state | server))
        return self.url

    def _ends(self, pid: int, number: signal.Signals) -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if not self._files.is_locked():
                return True
            other = self._look()
            if other is not None and other[1].pid != pid:
                return True
            time.sleep(_POLL_S)
        return False

    def _look(self) -> tuple[int, Answer] | None:
        """The port and the server of this folder, if it answers and names this folder as its own."""
        port = self._files.port() or self._first_port()
        server = ask(port)
        if server is None or server.folder.resolve() != self.folder.resolve():
            return None
        return port, server

    def _look_patiently(self) -> tuple[int, Answer] | None:
        """The server of this folder, which may be starting or busy; None if there is none."""
        deadline = time.monotonic() + self._timeout
        while self._files.is_locked():
            found = self._look()
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise ServerFailed(
                    self.folder, f"(pid {self._files.pid()}) does not answer; it was not stopped"
                )
            time.sleep(_POLL_S)
        return None

    def _known(self) -> tuple[int, Answer]:
        if self._found is None:
            raise ServerFailed(self.folder, "is not started: call start() or running_url() first")
        return self._found

    def _why_not_ready(self, found: tuple[int, Answer] | None) -> str:
        if found is not None:
            return f"still reads its data after {self._timeout:g} s; it goes on reading, try again later. Its log:"
        return f"(pid {self._files.pid()}) did not answer within {self._timeout:g} s; its log:"

    def _free_ports(self) -> Iterator[int]:
        if self._wanted_port is not None:
            candidates = [self._wanted_port]
        else:
            first = self._first_port() - _FIRST_PORT
            candidates = [_FIRST_PORT + (first + step) % _PORTS for step in range(_PORTS)]
            told = self._files.port()
            candidates = [told, *candidates] if told else candidates
        return (port for port in candidates if _is_free(port))

    def _first_port(self) -> int:
        # Each folder has its own first choice, so that a printed redis-cli line rarely comes to mean another folder.
        return _FIRST_PORT + zlib.crc32(os.fsencode(self.folder.resolve())) % _PORTS


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
