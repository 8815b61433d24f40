"""What work costs in CPU: of this process, and of the server."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis


class Usage:
    """CPU microseconds an event."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._events = 0
        self._own = 0.0
        self._server = 0.0

    @contextmanager
    def counts(self, events: int) -> Iterator[None]:
        own, server = time.process_time(), server_seconds(self._client)
        yield
        self._own += time.process_time() - own
        self._server += server_seconds(self._client) - server
        self._events += events

    @property
    def own(self) -> float:
        return self._own / self._events * 1e6

    @property
    def server(self) -> float:
        return self._server / self._events * 1e6

    @staticmethod
    def table(used: "dict[str, Usage]") -> dict[str, tuple[float, str]]:
        rows = {}
        for name, usage in used.items():
            rows[f"{name}: client"] = (usage.own, "us")
            rows[f"{name}: server"] = (usage.server, "us")
        return rows


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
