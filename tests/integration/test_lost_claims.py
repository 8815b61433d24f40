"""What a daemon takes over from a dead one when the reply to its claim gets lost: it is the claim that is in doubt, not the entry."""

import asyncio
import threading
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
    """An entry that a daemon died with; says how often it had been delivered."""

    def leave(delivered: int) -> None:
        with Publisher(server.url, namespace=namespace) as publisher:
            publisher.publish(Inherited(number=7, aggregate_type="I", aggregate_id="7"))
        client = Client(server.url)
        ghost = Pending(keys, "g", "ghost", [keys.stream("Inherited")])
        client.run(ghost.ensure("0-0", restore=False))
        client.run(ghost.read(ghost.streams, 1, None))
        [row] = client.run(ghost.own())
        client.run(ghost.claim(row, 0, delivered))
        client.close()

    return leave


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
