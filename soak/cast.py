"""The processes of the soak, and what is done to them."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import redis

from tests.servers import TestServer, chosen_server

DAEMONS = 3
PUBLISHERS = 2
#: Events a second, of all publishers together.
RATE = 400.0


class Cast:
    """A server, publishers, daemons. The first daemon is never killed: what it grows by is a leak."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.name, binary = chosen_server()
        self.server = TestServer(binary, folder / "server")
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.publishers: list[subprocess.Popen[bytes]] = []
        self.faults: dict[str, int] = {}

    def start(self) -> None:
        self.server.start()
        for _ in range(DAEMONS):
            self.daemons.append(self._process("soak.daemon"))
        for part in range(PUBLISHERS):
            self.publishers.append(self._process("soak.publisher", str(part), str(RATE / PUBLISHERS)))

    def _process(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, self.server.url, str(self.folder), *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BUSREDIS_")}
        with (self.folder / "processes.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def connect(self) -> redis.Redis:
        return redis.Redis(port=self.server.port, socket_timeout=10)

    def fault(self) -> str:
        """Does one of them harm; what it was."""
        faults = [
            self._kill_daemon,
            self._kill_daemon,
            self._cut_connections,
            self._restart,
            self._kill_server,
        ]
        what = self.chance.choice(faults)()
        self.faults[what] = self.faults.get(what, 0) + 1
        return what

    def _kill_daemon(self) -> str:
        victim = self.daemons.pop(self.chance.randrange(1, len(self.daemons)))
        victim.kill()
        victim.wait()
        self.daemons.append(self._process("soak.daemon"))
        return "SIGKILL of a daemon"

    def _cut_connections(self) -> str:
        with self.connect() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        return "CLIENT KILL of all"

    def _restart(self) -> str:
        self.server.restart()
        return "restart of the server"

    def _kill_server(self) -> str:
        self.server.kill()
        self.server.restart()
        return "SIGKILL of the server"

    def stop_publishing(self) -> list[int]:
        return _end(self.publishers)

    def stop_daemons(self) -> list[int]:
        return _end(self.daemons)

    def close(self) -> None:
        for process in [*self.publishers, *self.daemons]:
            process.kill()
            process.wait()
        with suppress(OSError):
            self.server.kill()

    def drained(self, seconds: float) -> bool:
        """Waits until both groups have read all and hold nothing."""
        until = time.monotonic() + seconds
        with self.connect() as client:
            while time.monotonic() < until:
                stream = "{busredis}:stream:Soaked"
                last = client.xinfo_stream(stream)["last-generated-id"]
                groups = client.xinfo_groups(stream)
                if [(g["pending"], g["last-delivered-id"]) for g in groups] == [(0, last)] * 2:
                    return True
                time.sleep(0.2)
        return False


def _end(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    return [process.wait(timeout=40) for process in processes]
