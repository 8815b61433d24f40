"""Owners of ordered handlers, killed and frozen for real: within a key nothing is lost, doubled or out of order."""

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from busredis import Publisher
from tests.acceptance.ordered_program import TYPES, step
from tests.waiting import wait_until


def publish_part(url: str, namespace: str, part: int, keys: int, each: int) -> None:
    """A quarter of the keys, all of their events, from a process of its own."""
    with Publisher(url, namespace=namespace) as publisher:
        for number in range(each):
            mine = range(part, keys, 4)
            for start in range(0, len(mine), 100):
                publisher.publish_many([step(number, f"k{key}") for key in mine[start : start + 100]])


class Owners:
    """Daemon processes of one group, one of which owns it."""

    def __init__(self, server, namespace: str, inspect, keys, folder: Path) -> None:
        self.url, self.namespace, self.inspect, self.keys, self.folder = (
            server.url,
            namespace,
            inspect,
            keys,
            folder,
        )
        self.processes: list[subprocess.Popen[bytes]] = []
        self.group = ""

    def start(self, group: str, lease: float = 1.0) -> None:
        self.group, self._lease = group, lease
        command = [sys.executable, "-m", "tests.acceptance.ordered_program", self.url, self.namespace]
        with (self.folder / "daemons.log").open("ab") as log:
            self.processes.append(subprocess.Popen([*command, group, str(lease)], stdout=log, stderr=log))

    def owner(self) -> subprocess.Popen[bytes] | None:
        name = (self.inspect.hget(self.keys.owner(self.group), "owner") or b"").decode()
        return next((p for p in self.processes if f"-{p.pid}-" in name and p.poll() is None), None)

    def kill_owner(self) -> None:
        process = wait_until(self.owner, "there is an owner", 30)
        process.kill()
        process.wait()
        self.processes.remove(process)

    def _known(self) -> str:
        return repr(self.inspect.hgetall(self.keys.owner(self.group)))

    def replace_dead(self) -> int:
        dead = [process for process in self.processes if process.poll() is not None]
        for process in dead:
            self.processes.remove(process)
            self.start(self.group, self._lease)
        return len(dead)

    def handled(self, keys: int) -> list[list[tuple[int, int]]]:
        """Number and token of each effect, in the order in which they were applied, by key."""
        views = self.inspect.pipeline(transaction=False)
        for key in range(keys):
            views.lrange(self.keys.view(f"{self.group}:k{key}"), 0, -1)
        return [
            [tuple(int(part) for part in line.split()) for line in lines]  # type: ignore[misc]
            for lines in views.execute()
        ]

    def count(self, keys: int) -> int:
        views = self.inspect.pipeline(transaction=False)
        for key in range(keys):
            views.llen(self.keys.view(f"{self.group}:k{key}"))
        return sum(views.execute())

    def stop(self) -> list[int]:
        # One that has not come so far as to ask for the ownership may not know yet what SIGTERM means.
        wait_until(
            lambda: all(f"-{process.pid}-" in self._known() for process in self.processes), "all are up", 40
        )
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=30) for process in self.processes]


@pytest.fixture
def owners(server, namespace, inspect, keys, tmp_path) -> Iterator[Owners]:
    running = Owners(server, namespace, inspect, keys, tmp_path)
    yield running
    for process in running.processes:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def check_order(handled: list[list[tuple[int, int]]], each: int) -> None:
    wrong = [
        key for key, effects in enumerate(handled) if [number for number, _ in effects] != list(range(each))
    ]
    tokens = [[token for _, token in effects] for effects in handled]
    assert wrong == []
    assert [key for key, found in enumerate(tokens) if found != sorted(found)] == []


@pytest.mark.parametrize(
    ("keys_", "each", "kills"),
    [
        pytest.param(1_000, 20, 8, marks=pytest.mark.timeout(240)),
        pytest.param(10_000, 20, 40, marks=[pytest.mark.long, pytest.mark.timeout(3_000)]),
    ],
)
def test_order_within_a_key_survives_the_death_of_owners(
    server, namespace, owners, capsys, *, keys_, each, kills
):
    seed = random.randrange(10**6)
    chance, events, began = random.Random(seed), keys_ * each, time.monotonic()
    for _ in range(3):
        owners.start("kept")

    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        publishing = [
            pool.submit(publish_part, server.url, namespace, part, keys_, each) for part in range(4)
        ]
        for kill in range(kills):
            goal = events * kill // (kills + 1) + chance.randrange(events // (kills + 1))
            wait_until(lambda goal=goal: owners.count(keys_) >= goal, f"{goal} handled (seed {seed})", 200)
            owners.kill_owner()
            owners.start("kept")
        for call in publishing:
            call.result()
    wait_until(lambda: owners.count(keys_) >= events, f"all is handled (seed {seed})", 600)
    took = time.monotonic() - began
    codes = owners.stop()

    handled = owners.handled(keys_)
    owned = len({token for effects in handled for _, token in effects})
    with capsys.disabled():
        print(
            f"\n{events:,} events of {keys_:,} keys, {kills} owners killed (seed {seed}), {owned} owners: "
            f"0 inversions, {took:.0f} s"
        )
    check_order(handled, each)
    assert owned > kills // 2
    assert codes == [0, 0, 0]
    assert owners.inspect.xlen(owners.keys.dead("kept")) == 0


@pytest.mark.timeout(120)
def test_an_owner_that_was_frozen_beyond_its_lease_does_no_harm_when_it_wakes(server, namespace, owners):
    keys_, each = 50, 40
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([step(n, f"k{key}") for n in range(each // 2) for key in range(keys_)])
        for _ in range(2):
            owners.start("slow", lease=0.5)
        frozen: list[subprocess.Popen[bytes]] = []
        for round_ in range(4):
            wait_until(lambda r=round_: owners.count(keys_) >= 40 * (r + 1), "the owner is at work", 40)
            owner = wait_until(owners.owner, "there is an owner")
            owner.send_signal(signal.SIGSTOP)
            frozen.append(owner)
            wait_until(lambda o=owner: owners.owner() not in (None, o), "another took over", 40)
            before = owners.count(keys_)
            wait_until(lambda b=before: owners.count(keys_) > b + 20, "and is at work", 40)
            owner.send_signal(signal.SIGCONT)
        publisher.publish_many([step(n, f"k{key}") for n in range(each // 2, each) for key in range(keys_)])
    wait_until(lambda: owners.count(keys_) >= keys_ * each, "all is handled", 60)
    codes = owners.stop()

    check_order(owners.handled(keys_), each)
    assert codes == [0, 0]
    assert len({process.pid for process in frozen}) == 2
    assert all(
        owners.inspect.xpending(owners.keys.stream(cls.type_name), "slow")["pending"] == 0 for cls in TYPES
    )


@pytest.mark.timeout(120)
def test_an_event_that_kills_its_owner_is_dead_its_key_is_parked_and_all_others_are_handled(
    server, namespace, owners, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many(
            [step(n, f"k{key}", deadly=(n, key) == (2, 3)) for n in range(5) for key in range(20)]
        )
    owners.start("killed", lease=0.5)
    deaths = 0

    def settled() -> bool:
        nonlocal deaths
        deaths += owners.replace_dead()
        return owners.count(20) == 97 and inspect.xlen(keys.dead("killed")) == 3

    wait_until(settled, "the killer is dead and the rest handled", 60)

    letters = [fields for _, fields in inspect.xrange(keys.dead("killed"))]
    assert [fields[b"reason"] for fields in letters] == [b"crashed", b"behind", b"behind"]
    assert [fields[b"key"] for fields in letters] == [b"Ledger:k3"] * 3
    assert letters[0][b"attempts"] == b"3"
    assert deaths == 3
    for key, effects in enumerate(owners.handled(20)):
        assert [number for number, _ in effects] == list(range(2 if key == 3 else 5))
