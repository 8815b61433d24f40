"""Counters that must be exact although daemons are killed for real, a hundred times."""

import multiprocessing
import random

import pytest

from busredis import Publisher
from tests.acceptance import effects_program
from tests.acceptance.effects_program import GROUPS, Deposited
from tests.waiting import wait_until

KILLS = 100
EVENTS_A_KILL = 40


@pytest.mark.timeout(240)
def test_effects_and_inbox_are_exact_although_daemons_are_killed_at_any_point(
    server, namespace, inspect, keys, tmp_path, capsys
):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.acceptance.effects_program"])
    seed = random.randrange(10**6)
    chance, path = random.Random(seed), tmp_path / "ledger.db"
    effects_program.create_ledger(path)

    def start(*, burst: bool):
        found = processes.Process(
            target=effects_program.run, args=(server.url, namespace, path), kwargs={"burst": burst}
        )
        found.start()
        return found

    def runs() -> list[int]:
        return [int(number or 0) for number in inspect.hmget(keys.view("runs"), GROUPS)]

    with Publisher(server.url, namespace=namespace) as publisher:
        for _ in range(KILLS):
            publisher.publish_many([Deposited(cents=n + 1) for n in range(EVENTS_A_KILL)])
            watched, goal = chance.randrange(3), chance.randrange(1, EVENTS_A_KILL)
            goal += runs()[watched]
            daemon = start(burst=False)
            wait_until(lambda w=watched, g=goal: runs()[w] >= g, f"the daemon is at work (seed {seed})")
            daemon.kill()
            daemon.join()
    last = start(burst=True)
    last.join(timeout=180)

    assert last.exitcode == 0
    with effects_program.ledger(path) as connection:
        in_sqlite = connection.execute("SELECT events, cents FROM ledger").fetchone()
    found = [
        tuple(int(n) for n in inspect.hmget(keys.view(group), "events", "cents")) for group in GROUPS[:2]
    ]
    events = KILLS * EVENTS_A_KILL
    again = [number - events for number in runs()]
    with capsys.disabled():
        print(
            f"\n{events:,} events, {KILLS} kills (seed {seed}): handlers ran again {again} times, counted once"
        )
    assert [*found, in_sqlite] == [(events, events * (EVENTS_A_KILL + 1) // 2)] * 3
    assert min(again) > 0  # else the kills hit nothing, and this test has shown nothing
    assert not inspect.exists(*(keys.dead(group) for group in GROUPS))
