"""Daemons in processes of their own, killed for real."""

import multiprocessing
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from busredis import Publisher
from tests.acceptance.daemon_program import Counted, Killer
from tests.waiting import wait_until

EVENTS = 100_000


def publish_part(url: str, namespace: str, part: int) -> None:
    """A quarter of the events, from a process of its own."""
    with Publisher(url, namespace=namespace) as publisher:
        numbers = range(part, EVENTS, 4)
        for start in range(0, len(numbers), 100):
            publisher.publish_many([Counted(number=n) for n in numbers[start : start + 100]])


class Daemons:
    """Daemon processes that can be killed and replaced."""

    def __init__(self, server, namespace: str, inspect, keys, folder: Path) -> None:
        program = "tests.acceptance.daemon_program"
        self.command = [sys.executable, "-m", program, server.url, namespace, str(folder)]
        self.inspect, self.keys, self.folder = inspect, keys, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        log = (self.folder / "daemons.log").open("ab")
        self.processes.append(subprocess.Popen(self.command, stdout=log, stderr=log))
        log.close()

    def kill(self, index: int) -> None:
        process = self.processes.pop(index)
        process.kill()
        process.wait()

    def replace_dead(self) -> int:
        dead = [process for process in self.processes if process.poll() is not None]
        for process in dead:
            self.processes.remove(process)
            self.start()
        return len(dead)

    def _is_reading(self, process: subprocess.Popen[bytes]) -> bool:
        stream = self.keys.stream("Counted")
        if b"one" not in [group["name"] for group in self.inspect.xinfo_groups(stream)]:
            return False
        names = [consumer["name"] for consumer in self.inspect.xinfo_consumers(stream, "one")]
        return any(f"-{process.pid}-".encode() in name for name in names)

    def stop(self) -> list[int]:
        # One that has not come so far as to read may not know yet what SIGTERM means.
        for process in self.processes:
            wait_until(lambda p=process: p.poll() is not None or self._is_reading(p), "it is up", 40)
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=30) for process in self.processes]

    def handled(self) -> Counter[tuple[str, int]]:
        # The last piece is empty, or a line that is being written or that a kill cut off: not handled yet.
        texts = [path.read_text() for path in self.folder.glob("*.txt")]
        lines = [line.split() for text in texts for line in text.split("\n")[:-1]]
        return Counter((group, int(number)) for group, number, _ in lines)


@pytest.fixture
def daemons(server, namespace, inspect, keys, tmp_path) -> Iterator[Daemons]:
    running = Daemons(server, namespace, inspect, keys, tmp_path)
    yield running
    for process in running.processes:
        process.kill()
        process.wait()


def empty(inspect, keys, event_type: str, *groups: str) -> bool:
    stream = keys.stream(event_type)
    infos = {info["name"].decode(): info for info in inspect.xinfo_groups(stream)}
    last = inspect.xinfo_stream(stream)["last-generated-id"]
    return all(
        g in infos and infos[g]["pending"] == 0 and infos[g]["last-delivered-id"] == last for g in groups
    )


@pytest.mark.timeout(300)
def test_nothing_is_lost_while_daemons_are_killed(server, namespace, inspect, keys, daemons, capsys):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for _ in range(3):
        daemons.start()

    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        publishing = [pool.submit(publish_part, server.url, namespace, part) for part in range(4)]
        for kill in range(10):
            goal = EVENTS * (kill + 1) // 12
            wait_until(lambda goal=goal: sum(daemons.handled().values()) >= goal, f"{goal} handled", 60)
            daemons.kill(chance.randrange(3))
            daemons.start()
        for call in publishing:
            call.result()
    wait_until(lambda: empty(inspect, keys, "Counted", "one", "two"), "both groups are done", 120)
    codes = daemons.stop()

    handled = daemons.handled()
    duplicates = sum(handled.values()) - len(handled)
    with capsys.disabled():
        print(f"\n{EVENTS:,} events, 2 groups, 10 kills (seed {seed}): 0 lost, {duplicates} handled again")
    missing = [(g, n) for g in ("one", "two") for n in range(EVENTS) if (g, n) not in handled]
    assert missing == []
    assert codes == [0, 0, 0]
    assert inspect.xlen(keys.dead("one")) == inspect.xlen(keys.dead("two")) == 0


@pytest.mark.timeout(120)
def test_an_event_that_kills_its_process_is_dead_alone_and_its_neighbours_are_handled(
    server, namespace, inspect, keys, daemons
):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Killer(number=n, deadly=n == 40) for n in range(100)])
    daemons.start()
    deaths = 0

    def settled() -> bool:
        nonlocal deaths
        deaths += daemons.replace_dead()
        return bool(inspect.exists(keys.dead("killed"))) and empty(inspect, keys, "Killer", "killed")

    wait_until(settled, "the killer is dead and the rest handled", 60)

    [(_, letter)] = inspect.xrange(keys.dead("killed"))
    assert b'"number":40' in letter[b"entry:event"]
    assert (letter[b"reason"], letter[b"attempts"]) == (b"crashed", b"3")
    assert deaths == 3
    assert {number for _, number in daemons.handled()} == set(range(100)) - {40}


@pytest.mark.timeout(60)
def test_sigterm_under_load_handles_nothing_twice(server, namespace, inspect, keys, daemons):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Counted(number=n) for n in range(5_000)])
    daemons.start()
    wait_until(lambda: sum(daemons.handled().values()) > 500, "the daemon is at work")
    assert daemons.stop() == [0]
    daemons.processes.clear()
    daemons.start()
    wait_until(lambda: empty(inspect, keys, "Counted", "one", "two"), "both groups are done", 40)

    handled = daemons.handled()
    assert set(handled.values()) == {1}
    assert len(handled) == 10_000
