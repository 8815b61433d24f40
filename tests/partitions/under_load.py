"""Four publishers and four daemons at work, and what must be true afterwards."""

import os
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Self

import orjson

from busredis.client import Client
from busredis.commands import raw
from busredis.keys import parse_id
from busredis.partitions import learn, look_up
from tests.waiting import wait_until

Fact = tuple[str, int]


class Load:
    """Runs the programs of load.py against a URL for as long as the context lasts."""

    def __init__(self, url: str, namespace: str, folder: Path, *, partitions: int = 1, each: int = 4) -> None:
        self._url, self._namespace, self._folder, self._each = url, namespace, folder, each
        self._partitions = partitions
        self._stop = folder / "stop"
        self._stack = ExitStack()
        self._publishers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        client = Client(self._url)
        client.run(learn(self._namespace, self._partitions))
        client.close()
        with ExitStack() as stack:
            for number in range(self._each):
                self._start(stack, "handle", f"handled-{number}")
                found = self._start(stack, "publish", f"confirmed-{number}", str(self._stop), f"p{number}")
                self._publishers.append(found)
            self._stack = stack.pop_all()
        return self

    def _start(self, stack: ExitStack, what: str, output: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.partitions.load", what, self._url, self._namespace]
        log = stack.enter_context((self._folder / f"{output}.log").open("wb"))
        process = subprocess.Popen(
            [*command, str(self._folder / output), *more], env=os.environ.copy(), stdout=log, stderr=log
        )
        stack.callback(process.wait, timeout=20)
        stack.callback(process.kill)
        return process

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _read(self, kind: str) -> list[tuple[float, Fact]]:
        found = []
        for path in self._folder.glob(f"{kind}-?"):
            for line in path.read_text().splitlines():
                when, aggregate, number = line.split()
                found.append((float(when), (aggregate, int(number))))
        return sorted(found)

    def confirmed(self) -> list[tuple[float, Fact]]:
        return self._read("confirmed")

    def handled(self) -> list[tuple[float, Fact]]:
        return self._read("handled")

    def go_on(self, count: int, timeout: float = 60) -> None:
        """Waits for so many more confirmed events of every publisher, and as many handled."""
        confirmed = [self._count("confirmed", number) + count for number in range(self._each)]
        handled = len(self.handled()) + count
        wait_until(
            lambda: all(self._count("confirmed", n) >= most for n, most in enumerate(confirmed)),
            f"every publisher has {count} more confirmed",
            timeout,
        )
        wait_until(lambda: len(self.handled()) >= handled, f"{count} more are handled", timeout)

    def _count(self, kind: str, number: int) -> int:
        path = self._folder / f"{kind}-{number}"
        return path.read_text().count("\n") if path.exists() else 0

    def check(self, what: str) -> None:
        """Ends the publishers; then nothing confirmed may be lost, and the order of each aggregate is kept."""
        self._stop.touch()
        for process in self._publishers:
            assert process.wait(timeout=60) == 0
        confirmed = self.confirmed()
        wanted = {fact for _, fact in confirmed}
        try:
            wait_until(
                lambda: wanted <= {fact for _, fact in self.handled()},
                "all that was confirmed is handled",
                60,
            )
        finally:
            log = self._log()
            stored = {fact for facts in log.values() for fact in facts}
            handled = self.handled()
            missing = wanted - {fact for _, fact in handled}
            print(
                f"\n{what}: {len(confirmed):,} confirmed, {len(wanted - stored)} lost from the log, "
                f"{len(missing)} not handled, "
                f"{len(handled) - len({fact for _, fact in handled}):,} handled again; longest wait of an aggregate for a confirmation "
                f"{_gap(confirmed):.1f} s, for a handled event {_gap(handled):.1f} s"
            )
        assert wanted <= stored
        for facts in log.values():
            assert len(facts) == len(set(facts)), "an event is stored twice"
            by_aggregate = defaultdict(list)
            for aggregate, number in facts:
                by_aggregate[aggregate].append(number)
            assert all(numbers == sorted(numbers) for numbers in by_aggregate.values())

    def _log(self) -> dict[int | None, list[Fact]]:
        """Every event of each partition, in the order of the entry ids."""
        client, found = Client(self._url), {}
        for keys in client.run(look_up(self._namespace)):
            rows = client.run(raw("XRANGE", keys.stream("Loaded"), "-", "+").__iter__())
            ids = [parse_id(entry_id.decode()) for entry_id, _ in rows]
            assert ids == sorted(ids)
            documents = [orjson.loads(fields[1]) for _, fields in rows]
            found[keys.partition] = [(one["aggregate_id"], one["payload"]["number"]) for one in documents]
        client.close()
        return found


def _gap(facts: list[tuple[float, Fact]]) -> float:
    """The longest time in which nothing happened to an aggregate that something happened to before and after."""
    times = defaultdict(list)
    for when, (aggregate, _) in facts:
        times[aggregate].append(when)
    return max(
        (after - before for found in times.values() for before, after in pairwise(sorted(found))), default=0.0
    )
