"""Several processes of one daemon: what becomes of those in the middle of something when all are to stop."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from busredis import Publisher
from busredis.cli import supervisor
from tests.acceptance.conftest import ROOT
from tests.acceptance.slow_shop import SlowSold
from tests.waiting import wait_until

SLOW = "tests.acceptance.slow_shop"


@contextmanager
def supervised(busredis, processes: int):
    command = [sys.executable, "-m", "busredis", "run", SLOW, "--processes", str(processes)]
    environment = busredis.environment | {"BUSREDIS_GRACE": "20s"}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
        started.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_process_finishes_what_it_runs_and_hands_the_rest_back_when_all_are_to_stop(
    busredis, server, namespace, inspect, keys, number
):
    def pids(what: str) -> set[bytes]:
        return {line.split()[0] for line in inspect.lrange(keys.view(what), 0, -1)}

    with Publisher(server.url, namespace=namespace) as publisher, supervised(busredis, 2) as running:
        published = 0
        publisher.publish(SlowSold(number=published))
        wait_until(lambda: len(pids("started")) == 1, "one is at work")
        while len(pids("started")) < 2:
            # It may go to the one that is at work, and wait there.
            published += 1
            publisher.publish(SlowSold(number=published))
            wait_until(lambda: _is_read(inspect, keys.stream("SlowSold")), "it is read")
        running.send_signal(number)
        handed_back = published + 1 - 2
        stream = keys.stream("SlowSold")
        wait_until(
            lambda: (
                len(inspect.xpending_range(stream, "slow-till", "-", "+", 100, "waiting-0")) == handed_back
            ),
            "what was not started is handed back",
        )
        assert inspect.llen(keys.view("finished")) == 0
        inspect.rpush(keys.view("release"), "one", "two")
        assert running.wait(timeout=30) == 0

    assert inspect.lrange(keys.view("finished"), 0, -1) != []
    assert pids("finished") == pids("started")
    assert inspect.llen(keys.view("started")) == 2
    rows = inspect.xpending_range(stream, "slow-till", "-", "+", 100)
    assert [(row["consumer"], row["times_delivered"]) for row in rows] == [(b"waiting-0", 0)] * handed_back


def _is_read(inspect, stream: str) -> bool:
    last = inspect.xinfo_stream(stream)["last-generated-id"]
    return [group["last-delivered-id"] for group in inspect.xinfo_groups(stream)] == [last]


class FakeChild:
    """A process that ends as it is told to, or crashes at once."""

    def __init__(self, returncode: int | None) -> None:
        self.pid, self.returncode = 1, returncode
        self.signals: list[int] = []

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        self.returncode = 0


@pytest.fixture
def own_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_signal_that_comes_while_a_process_is_started_reaches_it_too(monkeypatch, own_signals, at):
    children: list[FakeChild] = []

    def start(_arguments):
        if len(children) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        # The first crashes; its replacement is the third.
        children.append(FakeChild(1 if not children else None))
        return children[-1]

    monkeypatch.setattr(supervisor, "_start", start)
    monkeypatch.setattr(supervisor, "_CALM_SECONDS", 0.0)

    assert supervisor.supervise(["run"], 2) in (0, 1)

    assert [child.poll() for child in children[1:]] == [0] * len(children[1:])
    assert all(child.signals == [signal.SIGTERM] for child in children[1:])


def test_a_start_that_is_wrong_is_not_tried_again_and_its_exit_code_is_that_of_all(monkeypatch, own_signals):
    children = []

    def start(_arguments):
        children.append(FakeChild(2))
        return children[-1]

    monkeypatch.setattr(supervisor, "_start", start)

    assert supervisor.supervise(["run"], 3) == 2
    assert len(children) == 3
