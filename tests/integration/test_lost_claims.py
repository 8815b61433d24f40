"""What a daemon takes over from a dead one when the reply to its claim gets lost: it is the claim that is in doubt, not the entry."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.delivery.pending import Pending
from busredis.lua import load
from tests.proxy import Proxy
from tests.waiting import wait_until


class Inherited(DomainEvent):
    number: int = 0


class Bystander(DomainEvent):
    number: int = 0


FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=0.5)}


@pytest.fixture
def inherited(server, namespace, keys, inspect):
    """An entry that a daemon died with, as soon as what this returns is not called any more; of so many deliveries."""
    client = Client(server.url)

    def leave(delivered: int) -> Callable[[], object]:
        with Publisher(server.url, namespace=namespace) as publisher:
            publisher.publish(Inherited(number=7, aggregate_type="I", aggregate_id="7"))
        ghost = Pending(keys, "g", "ghost", [keys.stream("Inherited")])
        client.run(ghost.ensure("0-0", restore=False))
        client.run(ghost.read(ghost.streams, 1, None))
        [row] = client.run(ghost.own())
        client.run(ghost.claim(row, 0, delivered))
        return lambda: client.run(ghost.renew_own())

    yield leave
    client.close()


@pytest.mark.parametrize("delivered", [1, 2])
@pytest.mark.parametrize(("ordered", "script"), [(False, "claim"), (True, "take")])
def test_an_entry_whose_claim_was_not_answered_has_its_attempt_and_runs_alone(  # noqa: PLR0917
    server, namespace, keys, inspect, inherited, ordered, script, delivered
):
    router, attempts, crowd, beside, done = Router(), [], {"started": 0}, [], threading.Event()

    @router.on(Inherited, name="g", max_attempts=2, ordered=ordered)
    async def suspect(event: Inherited, ctx: Context) -> None:
        before = crowd["started"]
        await asyncio.sleep(0.3)
        attempts.append(ctx.attempt)
        beside.append(crowd["started"] - before)
        done.set()

    @router.on(Bystander, name="crowd", concurrency=4)
    async def bystander(event: Bystander) -> None:
        crowd["started"] += 1
        await asyncio.sleep(0 if done.is_set() else 0.02)

    inherited(delivered)
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Bystander(number=n) for n in range(2_000)])
    inspect.script_load(load(script).text)
    with Proxy(server.port) as proxy:
        proxy.cut_before_reply(1, needle=load(script).sha.encode())
        daemon = Daemon(router, url=proxy.url, namespace=namespace, **FAST)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            wait_until(lambda: done.is_set() or inspect.xlen(keys.dead("g")), "it has run")
            wait_until(
                lambda: inspect.xpending(keys.stream("Inherited"), "g")["pending"] == 0, "it is settled"
            )
        finally:
            daemon.stop()
            thread.join(timeout=20)

    assert proxy.lost_replies == 1
    assert (attempts, beside) == ([2], [0])
    assert inspect.xlen(keys.dead("g")) == 0


def test_an_entry_beside_which_something_ran_is_not_noted_to_have_run_alone(
    server, namespace, keys, inspect, inherited
):
    """What runs for longer than a lease is not waited for: if it kills the process, the entry beside it is innocent."""
    router, notes, long_runs, done = Router(), [], threading.Event(), threading.Event()

    @router.on(Inherited, name="g", max_attempts=2)
    async def suspect(event: Inherited) -> None:
        notes.extend(inspect.hkeys(keys.failures("g")))
        done.set()

    @router.on(Bystander, name="long")
    def bystander(event: Bystander) -> None:
        long_runs.set()
        done.wait(20)

    is_alive = inherited(2)
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Bystander())
    daemon = Daemon(router, url=server.url, namespace=namespace, **FAST)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        wait_until(lambda: is_alive() or long_runs.is_set(), "something runs")
        wait_until(done.is_set, "the suspect has run")
        wait_until(lambda: inspect.xpending(keys.stream("Inherited"), "g")["pending"] == 0, "it is settled")
    finally:
        done.set()
        daemon.stop()
        thread.join(timeout=20)

    assert notes == []
