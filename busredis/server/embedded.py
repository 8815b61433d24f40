"""Starts, shares and stops the server of a folder.

Files in the folder: `server.lock`, held by the server itself for as long as it lives (it inherits the open file, and
the kernel lets go when it dies, however it dies); `server.json`, where it can be found; `server.log`; and its data.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from busredis.errors import BusError
from busredis.server.binary import find_binary
from busredis.server.probe import Answer, ask

_POLL_S = 0.01
_FIRST_PORT, _PORTS = 6400, 600  # below every system's range of ephemeral ports
_LOG_LINES = 12


class ServerFailed(BusError):
    """The embedded server could not be started, found or stopped; the message ends with its last log lines."""

    def __init__(self, what: str, folder: Path, log: str = "") -> None:
        self.folder = folder
        lines = "".join(f"\n    {line}" for line in log.splitlines()[-_LOG_LINES:])
        super().__init__(f"the embedded server in {folder} {what}{lines}")


class EmbeddedServer:
    """A real server with its data in `folder` (default `.busredis` here), one for all who ask for that folder.

    What it was told survives: the append-only file is on, nothing is ever evicted, and a restart finds it on the same
    port. It listens on loopback only, and outlives the program that started it until someone stops it.
    """

    def __init__(
        self, folder: Path | None = None, *, port: int | None = None, appendfsync: str = "everysec", timeout: float = 10.0
    ) -> None:
        self.folder = (folder or Path(".busredis")).absolute()
        self._wanted_port = port
        self._appendfsync = appendfsync
        self._timeout = timeout
        self._found: tuple[int, Answer] | None = None
        self._started = False

    def start(self) -> str:
        """The URL of this folder's server, started if none runs; one that runs is shared, whatever its port.

        Any number of processes may call this at once: they get one server. Raises ServerNotFound, and ServerFailed
        when it is not ready in time.
        """
        self._make_folder()
        deadline = time.monotonic() + self._timeout
        while True:
            lock = self._free_lock()
            if lock is not None:
                try:
                    self._launch(lock, deadline)
                finally:
                    os.close(lock)
                self._started = True
                return self.url
            found = self._look()
            if found and found[1].ready:
                self._found = found
                return self.url
            self._wait(deadline, self._why_not_ready(found))

    def stop(self, *, force: bool = False) -> bool:
        """Stop the server if this object started it, or in any case with `force`; True if one was stopped.

        It gets SIGTERM and writes its data; only if that takes longer than the timeout, SIGKILL.
        """
        if not (self._started or force) or not self._is_locked():
            return False
        found = self._look()
        if found is None:
            raise ServerFailed(f"runs (pid {self._state().get('pid')}) but does not answer; it was left alone", self.folder)
        port, server = found
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(server.pid, number)
            if self._is_gone_in_time(server.pid):
                break
        else:
            raise ServerFailed(f"(pid {server.pid}) does not end", self.folder)
        if not self._is_locked():
            self._remember(port)
        self._found, self._started = None, False
        return True

    def running_url(self) -> str | None:
        """The URL of this folder's server if one runs and is ready. Starts and changes nothing."""
        found = self._look()
        if found is None or not found[1].ready:
            return None
        self._found = found
        return self.url

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
        """The line that looks inside, with the client that is installed here."""
        client = "valkey-cli" if shutil.which("valkey-cli") and not shutil.which("redis-cli") else "redis-cli"
        return f"{client} -p {self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self, lock: int, deadline: float) -> None:
        binary = find_binary()
        for port in self._free_ports():
            self._remember(port)  # before it runs, so that whoever finds the lock taken knows where to ask
            log_from = self._log_size()
            self._spawn(binary, port, lock, log_from)
            found = self._await_launch(lock, log_from, deadline)
            if found is not None:
                self._found = found
                self._remember(port, pid=found[1].pid, binary=str(binary), version=found[1].version, url=self.url)
                return
        where = f"port {self._wanted_port}" if self._wanted_port else f"every port from {_FIRST_PORT}"
        raise ServerFailed(f"cannot listen: {where} is taken", self.folder)

    def _spawn(self, binary: Path, port: int, lock: int, log_from: int) -> None:
        # The server puts itself into the background and its own session: Ctrl-C here does not reach it.
        options = {"port": str(port), "bind": "127.0.0.1", "daemonize": "yes", "pidfile": "server.pid", "save": ""}
        options |= {"appendonly": "yes", "appendfsync": self._appendfsync, "maxmemory-policy": "noeviction"}
        options |= {"logfile": "server.log", "dir": "."}
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        with (self.folder / "server.log").open("ab") as log:
            try:
                done = subprocess.run(  # noqa: S603 - the program that the user chose
                    [str(binary), *arguments],
                    cwd=self.folder,
                    env={**os.environ, "LC_ALL": "C"},  # Redis refuses to start in a locale that is not installed
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    timeout=self._timeout,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerFailed(f"did not start: {error}", self.folder) from error
        if done.returncode != 0:
            raise ServerFailed(f"did not start: {binary} says", self.folder, self._log_after(log_from))

    def _await_launch(self, lock: int, log_from: int, deadline: float) -> tuple[int, Answer] | None:
        """The server once it is ready; None if its port was taken before it could listen."""
        fcntl.flock(lock, fcntl.LOCK_UN)
