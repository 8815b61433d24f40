"""What a daemon costs when it does nothing, what it holds with a backlog, and how long it takes to start."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from bench.measure import note
from bench.publish import event
from bench.usage import process_seconds, resident_mib
from busredis import Publisher

_IDLE_S, _BACKLOG = 5.0, 100_000


@contextmanager
def _worker(kind: str, url: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "bench.worker", kind, url, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        try:
            yield worker
        finally:
            worker.terminate()


def _imports(module: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return (time.perf_counter() - started) * 1000


def _calls(client: redis.Redis) -> dict[str, int]:
    """What clients called; what scripts called in turn is told apart by their commands."""
    return {name: row["calls"] for name, row in client.info("commandstats").items()}


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    client.flushall()
    rows: dict[str, tuple[float, str]] = {}
    with Publisher(url, namespace="bench") as publisher:
        publisher.publish(event(0))
        starts = []
        for _ in range(5):
            started = time.perf_counter()
            with _worker("first", url) as worker:
                assert worker.stdout
                worker.stdout.readline()
                starts.append((time.perf_counter() - started) * 1000)
            client.xgroup_destroy("{bench}:stream:ActionEvaluatedEvent", "first")
            client.delete("{bench}:checkpoint:first")
        rows["daemon, from start to its first event"] = (statistics.median(starts), "ms")
        bare = statistics.median(_imports("sys") for _ in range(5))
        rows["import busredis"] = (statistics.median(_imports("busredis") for _ in range(5)) - bare, "ms")
        with _worker("idle", url) as worker:
            assert worker.stdout
            worker.stdout.readline()
            time.sleep(1.5)
            before, cpu = _calls(client), process_seconds(worker.pid)
            time.sleep(_IDLE_S)
            after = _calls(client)
            rows["idle daemon, CPU"] = ((process_seconds(worker.pid) - cpu) / _IDLE_S * 100, "% of a core")
            rows["idle daemon, memory"] = (resident_mib(worker.pid), "MiB")
            sent = sum(
                after[name] - before.get(name, 0)
                for name in after
                if name in ("cmdstat_evalsha", "cmdstat_xreadgroup", "cmdstat_hincrby")
            )
            rows["idle daemon, commands sent"] = (sent / _IDLE_S, "/s")
            total = sum(after.values()) - sum(before.values())
            rows["idle daemon, commands run, those of scripts included"] = (total / _IDLE_S, "/s")
        publisher.publish_many(event(number) for number in range(_BACKLOG))
        with _worker("slow", url) as worker:
            assert worker.stdout
            worker.stdout.readline()
            time.sleep(2)
            rows[f"daemon with a backlog of {_BACKLOG:,}, memory"] = (resident_mib(worker.pid), "MiB")
    note("footprint", rows)
    client.flushall()
