"""What work costs in CPU: of this process, and of the server."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

_UNITS = (
    ("client", "us"),
    ("server", "us"),
    ("commands in the server", "per 1,000"),
    ("reads of the server", "per 1,000"),
)


class Usage:
    """What an event costs: CPU microseconds here and in the server, commands that it ran, and how often it read from us."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._events = 0
        self._sums = [0.0] * len(_UNITS)

    @contextmanager
    def counts(self, events: int) -> Iterator[None]:
        before = self._server()
        own = time.process_time()
        yield
        own = time.process_time() - own
        after = self._server()
        self._events += events
        spent = [own * 1e6, *(now - was for was, now in zip(before, after, strict=True))]
        self._sums = [known + one for known, one in zip(self._sums, spent, strict=True)]

    def _server(self) -> list[float]:
        found = self._client.info()
        # One of each is the question itself: too few to be seen among thousands.
        return [
            (found["used_cpu_sys"] + found["used_cpu_user"]) * 1e6,
            found["total_commands_processed"] * 1000,
            found["total_reads_processed"] * 1000,
        ]

    def rows(self, name: str) -> dict[str, tuple[float, str]]:
        """An event's share of each."""
        found = zip(_UNITS, self._sums, strict=True)
        return {f"{name}: {what}": (total / self._events, unit) for (what, unit), total in found}


def table(used: dict[str, Usage]) -> dict[str, tuple[float, str]]:
    return {name: row for case, usage in used.items() for name, row in usage.rows(case).items()}


def server_seconds(client: redis.Redis) -> float:
    found = client.info("cpu")
    return found["used_cpu_sys"] + found["used_cpu_user"]


def process_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    return _mib(str(pid), "VmRSS")


def peak_mib() -> float:
    """The largest resident size of this process so far; that of getrusage() may be its parent's."""
    return _mib("self", "VmHWM")


def _mib(process: str, name: str) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {name}")
