"""Schedules that fall due while the daemons are killed, and while there are none."""

import multiprocessing
import random
import time
from datetime import timedelta

import pytest
import redis

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.daemon import scheduler
from busredis.daemon.scheduler import append_due
from busredis.keys import Keys
from busredis.settings import Settings
from tests.servers import TestServer, chosen_server
from tests.waiting import wait_until

KILLS = 60
EVENTS_A_KILL = 50


class FellDue(DomainEvent):
    number: int = 0


def run(url: str, namespace: str) -> None:
    router = Router()

    @router.on(FellDue, name="sees", start="now")
    def sees(event: FellDue) -> None:
        pass

    fast = {"lease": timedelta(seconds=1), "sweep": timedelta(seconds=0.5), "block": timedelta(seconds=0.2)}
    Daemon(router, url=url, namespace=namespace, **fast).run()


def all_due(inspect, keys) -> bool:
    return inspect.zcount(keys.schedule, time.time() * 1000, "+inf") == 0


@pytest.mark.timeout(240)
def test_each_scheduled_event_is_appended_once_although_daemons_are_killed_at_any_point(
    server, namespace, inspect, keys, capsys
):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.acceptance.test_schedule_kills"])
    seed = random.randrange(10**6)
    chance, stream = random.Random(seed), keys.stream("FellDue")

    def start():
        found = processes.Process(target=run, args=(server.url, namespace))
        found.start()
        return found

    daemons, alone, busy = [start()], 0, 0
    with Publisher(server.url, namespace=namespace) as publisher:
        for kill in range(KILLS):
            goal = inspect.xlen(stream) + chance.randrange(1, EVENTS_A_KILL)
            for n in range(EVENTS_A_KILL):
                number = kill * EVENTS_A_KILL + n
                publisher.schedule(FellDue(number=number), delay=chance.uniform(0, 1.2))
            wait_until(lambda g=goal: inspect.xlen(stream) >= g, f"they are at work (seed {seed})")
            busy += inspect.zcard(keys.schedule) > 0
            victim = daemons.pop(chance.randrange(len(daemons)))
            victim.kill()
            victim.join()
            if chance.random() < 0.3:
                daemons.append(start())  # two, at times
            if not daemons:
                alone += 1
                if chance.random() < 0.3:
                    # Nobody is there until all of this round is due.
                    wait_until(lambda: all_due(inspect, keys), "all are due")
                daemons.append(start())
    all_of_them = KILLS * EVENTS_A_KILL
    wait_until(lambda: inspect.zcard(keys.schedule) == 0, f"nothing waits (seed {seed})", 60)
    for daemon in daemons:
        daemon.terminate()
        daemon.join()

    found = [FellDue.from_json(fields[b"event"]).number for _, fields in inspect.xrange(stream)]
    with capsys.disabled():
        print(
            f"\n{all_of_them:,} scheduled events, {KILLS} kills (seed {seed}), {busy} of them while some waited, "
            f"{alone} times nobody was left"
        )
    assert sorted(found) == list(range(all_of_them))
    assert busy > KILLS // 6  # else the kills hit nothing, and this test has shown nothing
    assert not inspect.exists(keys.scheduled)


@pytest.mark.timeout(120)
def test_what_fell_due_while_no_daemon_was_there_is_appended_when_one_is_back_with_the_time_it_was_due(
    server, namespace, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        ids = [publisher.schedule(FellDue(number=n), delay=0.2 * n / 1_000) for n in range(1_000)]
        assert len(set(ids)) == inspect.zcard(keys.schedule) == 1_000
        wait_until(lambda: all_due(inspect, keys), "all are due")
        due = {one.id: one.event["occurred_at"] for one in publisher.scheduled(1_000)}
    daemon = multiprocessing.get_context("forkserver").Process(target=run, args=(server.url, namespace))
    daemon.start()
    wait_until(lambda: inspect.zcard(keys.schedule) == 0, "all are appended")
    daemon.terminate()
    daemon.join()

    events = [FellDue.from_json(fields[b"event"]) for _, fields in inspect.xrange(keys.stream("FellDue"))]
    assert {str(event.event_id): event.to_dict()["occurred_at"] for event in events} == due
    # In the order in which they fell due, since their times rise.
    assert [event.number for event in events] == list(range(1_000))


@pytest.mark.timeout(120)
def test_a_server_that_is_killed_appends_each_event_once_all_the_same(tmp_path, namespace, keys):
    _, binary = chosen_server()
    chance, events = random.Random(7), 6_000
    with TestServer(binary, tmp_path) as server:
        settings, client = Settings(url=server.url, namespace=namespace), Client(server.url)
        inspect = redis.Redis(port=server.port)
        with Publisher(server.url, namespace=namespace) as publisher:
            for number in range(events):
                publisher.schedule(FellDue(number=number), delay=0)
        moving = multiprocessing.get_context("forkserver")
        for _ in range(6):
            before = inspect.xlen(keys.stream("FellDue"))
            daemon = moving.Process(target=move, args=(settings,))
            daemon.start()
            goal = min(before + chance.randrange(1, 800), events)
            wait_until(lambda g=goal: inspect.xlen(keys.stream("FellDue")) >= g, "it is at work")
            server.kill()
            daemon.kill()
            daemon.join()
            server.restart()
        while client.run(append_due(keys, settings, "d")).appended:
            pass
        entries = inspect.xrange(keys.stream("FellDue"))
        inspect.close()
        client.close()

    numbers = [FellDue.from_json(fields[b"event"]).number for _, fields in entries]
    assert sorted(numbers) == list(range(events))


def move(settings: Settings) -> None:
    """Appends what is due, a few events a call, until it is killed."""
    client, scheduler._PAGE = Client(settings.url), 5
    while True:
        client.run(append_due(Keys(settings.namespace), settings, "d"))
