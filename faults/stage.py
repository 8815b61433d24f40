"""A run in progress: its server, daemons and publishers, all of them processes that can be hurt and replaced."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from busredis.keys import Keys
from faults.history import NOTHING, LeadsTo, Recorder
from faults.publishing import Order
from tests.proxy import Proxy
from tests.servers import TestServer, chosen_server, server_binary
from tests.waiting import wait_until

NAMESPACE = "faults"
KEYS = Keys(NAMESPACE)
STREAM = KEYS.stream("Step")
_ROOT = Path(__file__).parents[1]

Context = TypeVar("Context")


@dataclass(frozen=True)
class Setting:
    """How a run is set up. `events` are spread over `seconds`; `server` are options of the server."""

    events: int = 24_000
    seconds: float = 5.0
    daemons: int = 2
    publishers: int = 2
    lease_s: float = 2.0
    batch: int = 500
    timeout_s: float = 10.0
    durability: str = "memory"
    #: Daemons and publishers connect through a proxy.
    proxied: bool = False
    #: Every system call on the append-only file is traced, so that it is known what was synced.
    traced: bool = False
    #: Order is checked: one daemon, and no fault.
    ordered: bool = False
    server: dict[str, str] = field(default_factory=dict)
    #: A name in tests/servers.py; the server that all tests run on, if empty.
    program: str = ""


class Stage:
    """Starts everything on entering, ends everything on leaving. Faults are injected through its parts."""

    def __init__(self, setting: Setting, folder: Path, seed: int) -> None:
        self.setting, self.folder, self.chance = setting, folder, random.Random(seed)
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.publishers: dict[str, tuple[Order, subprocess.Popen[bytes]]] = {}
        self.codes: list[int] = []
        self.notes: list[str] = []
        self.injected = 0
        #: The replica that takes over next, if it is there already (faults/replicas.py).
        self.standby: Any = None
        #: Of the append-only file: what was surely on disk when the server last started, and what was cut off in all.
        self.synced_bytes = self.cut_bytes = 0
        self._stack = ExitStack()
        self._servers = 0
        self._faults = Recorder(folder / "faults.log")

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.callback(self._faults.close)
            self._stack.callback(self._end_processes)
            self.server = self.add_server()
            if self.setting.proxied:
                self.proxy = self._stack.enter_context(Proxy(self.server.port))
            for _ in range(self.setting.daemons):
                self.start_daemon()
            share = -(-self.setting.events // self.setting.publishers)
            for part in range(self.setting.publishers):
                self.start_publisher(self._order(str(part), part * share, share))
            wait_until(lambda: self.count("worker-*.log", b"\ndone ") > 0, "work is under way", 60)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return self.proxy.url if self.setting.proxied else self.server.url

    def add_server(self) -> TestServer:
        """One more server, with the options of this run, ended with it."""
        self._servers += 1
        folder, wanted = self.folder / f"server-{self._servers}", self.setting.program
        binary = server_binary(wanted) if wanted else chosen_server()[1]
        folder.mkdir()
        options = {"auto_aof_rewrite_percentage": "0", "repl_diskless_sync_delay": "0"}
        program = _traced(binary, folder) if self.setting.traced else binary
        return self.keep(TestServer(program, folder, **(options | self.setting.server)))

    def keep(self, context: AbstractContextManager[Context]) -> Context:
        """Something more that ends with this run."""
        return self._stack.enter_context(context)

    def client(self, server: TestServer | None = None) -> redis.Redis:
        """A client of the server, past the proxy, that sends each command once."""
        port = (server or self.server).port
        return redis.Redis(port=port, socket_timeout=20, retry=Retry(NoBackoff(), 0))

    def command(self, *parts: object, to: TestServer | None = None) -> Any:
        """One command to the server, past the proxy, sent once."""
        with self.client(to) as client:
            return client.execute_command(*parts)

    @contextmanager
    def fault(self, name: str, *leads_to: LeadsTo, erases_since: int = NOTHING) -> Iterator[None]:
        """What happens inside is told as a fault, with what it may lead to."""
        self.injected += 1
        began = time.monotonic_ns()
        yield
        marks = ",".join(leads_to) or "nothing"
        self._faults.write("fault", name.replace(" ", "-"), began, marks, erases_since)

    def let_run(self, seconds: float) -> None:
        """Lets a fault last, or work go on between two faults."""
        time.sleep(seconds)

    def start_daemon(self) -> None:
        order = (self.url, NAMESPACE, str(self.folder), str(self.setting.lease_s))
        self.daemons.append(self._run("faults.worker", *order))

    def any_daemon(self) -> subprocess.Popen[bytes]:
        return self.chance.choice(self.daemons)

    def wait_for_daemons(self) -> None:
        """Waits until each daemon runs, and so knows what SIGTERM means."""
        log = self.folder / "faults.worker.log"
        wanted = [f"\n{daemon.pid} INFO daemon " for daemon in self.daemons]

        def all_run() -> bool:
            text = "\n" + log.read_text(errors="replace")
            return all(line in text for line in wanted)

        wait_until(all_run, "each daemon runs", 60)

    def replace_daemon(self, daemon: subprocess.Popen[bytes], number: signal.Signals) -> int:
        """Ends a daemon by a signal and starts another; the exit code."""
        self.daemons.remove(daemon)
        daemon.send_signal(number)
        code = daemon.wait(timeout=30)
        self.start_daemon()
        return code

    def start_publisher(self, order: Order) -> None:
        self.publishers[order.name] = order, self._run("faults.publishing", order.to_json())

    def publishes(self) -> bool:
        """Whether a publisher is still at work."""
        return any(process.poll() is None for _, process in self.publishers.values())

    def count(self, pattern: str, needle: bytes) -> int:
        """How often a text occurs in the files of this run so far."""
        return sum(path.read_bytes().count(needle) for path in self.folder.glob(pattern))

    def wait_for_more(self, pattern: str, needle: bytes, before: int) -> None:
        """Waits until a text occurs more often than before: the fault was felt."""
        wait_until(lambda: self.count(pattern, needle) > before, f"more of {needle!r} in {pattern}")

    def _order(self, name: str, first: int, count: int) -> Order:
        s = self.setting
        last = min(first + count, s.events)
        seed = self.chance.randrange(2**32)
        where = (self.url, NAMESPACE, str(self.folder), name)
        return Order(*where, first, last, s.seconds, seed, s.batch, s.timeout_s, s.durability)

    def _run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        command = [sys.executable, "-m", module, *arguments]
        with (self.folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _end_processes(self) -> None:
        for process in [*self.daemons, *(process for _, process in self.publishers.values())]:
            process.kill()
            process.wait()


def _traced(binary: Path, folder: Path) -> Path:
    """A program that is `binary` under strace, which watches from beside it (-D): the pid is the server's own."""
    program = folder / "traced-server"
    calls = "trace=write,writev,pwrite64,truncate,ftruncate,fsync,fdatasync"
    program.write_text(f'#!/bin/sh\nexec strace -D -f -y -s 0 -q -e {calls} -o trace.$$ "{binary}" "$@"\n')
    program.chmod(0o700)
    return program
