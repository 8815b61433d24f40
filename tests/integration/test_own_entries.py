"""Entries that a consumer holds by the server's word and not by its own: lost replies, found again."""

import asyncio
from datetime import timedelta

from busredis import Context, Daemon, DomainEvent, Publisher, Router
from busredis.client import AsyncClient
from busredis.codec import Codec
from busredis.daemon.consumer import Consumer
from busredis.delivery.lanes import Gate
from busredis.delivery.pending import Pending
from busredis.delivery.process import Process
from busredis.lua import load
from busredis.settings import Settings
from tests.integration.running import Running
from tests.proxy import Proxy
from tests.waiting import wait_until


class Found(DomainEvent):
    number: int = 0


PATIENT = {"sweep": timedelta(seconds=0.1), "lease": timedelta(seconds=60)}


async def test_an_entry_of_its_own_that_two_looks_find_at_once_is_run_once(server, namespace, inspect, keys):
    router, runs = Router(), []

    @router.on(Found, name="g")
    async def handle(event: Found) -> None:
        runs.append(event.number)

    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Found(number=n) for n in range(5)])
    pending = Pending(keys, "g", "me", [keys.stream("Found")])
    client = AsyncClient(server.url)
    settings = Settings.load(url=server.url, namespace=namespace, lease=timedelta(seconds=5))
    [handler] = list(router)
    consumer = Consumer(pending, Process(handler, Codec(10_000), None), client, Gate(), settings)
    settling = asyncio.create_task(consumer.settler.run())
    await client.run(pending.ensure("0-0", restore=False))
    await client.run(
        pending.read(pending.streams, 5, None)
    )  # the reply is "lost": nothing is held by its word

    rows = await client.run(pending.own())
    looks = [consumer.reclaim(row, 0, row.count) for row in rows for _ in range(2)]
    taken = [delivery for delivery in await asyncio.gather(*looks) if delivery is not None]
    async with asyncio.timeout(20):
        while consumer.settler.held:
            await asyncio.sleep(0.01)

    assert sorted(runs) == [0, 1, 2, 3, 4]
    assert len(taken) == 5
    assert inspect.xpending(keys.stream("Found"), "g")["pending"] == 0
    settling.cancel()
    await consumer.lanes.cancel()
    await client.close()


def test_what_a_lost_reply_delivered_is_found_also_if_the_first_look_for_it_is_lost_too(
    server, namespace, inspect, keys
):
    """And not only when the lease is over, by another daemon and as another attempt."""
    router, runs = Router(), []

    @router.on(Found, name="g")
    async def handle(event: Found, ctx: Context) -> None:
        runs.append((event.number, ctx.attempt))

    with (
        Proxy(server.port) as proxy,
        Publisher(server.url, namespace=namespace) as publisher,
        Running(Daemon(router, url=proxy.url, namespace=namespace, **PATIENT)),
    ):
        publisher.publish(Found(number=0))
        wait_until(lambda: runs == [(0, 1)], "the daemon is at work")
        wait_until(lambda: inspect.xpending(keys.stream("Found"), "g")["pending"] == 0, "all is acknowledged")
        proxy.stall()
        publisher.publish(Found(number=1))
        wait_until(lambda: inspect.xpending(keys.stream("Found"), "g")["pending"] == 1, "it is delivered")
        proxy.cut_before_request(1, needle=b"XPENDING")
        proxy.cut()
        proxy.resume()
        wait_until(lambda: proxy.lost_requests == 1, "the daemon has looked")
        wait_until(lambda: len(runs) > 1, "what was delivered in the lost reply is handled", 10)

    assert runs == [(0, 1), (1, 1)]


def test_a_claim_whose_reply_is_lost_costs_no_attempt(server, namespace, inspect, keys):
    """And no lease: the entry is this consumer's, who finds it again at once."""
    router, runs = Router(), []

    @router.on(Found, name="g", backoff=0.3, max_attempts=2)
    async def handle(event: Found, ctx: Context) -> None:
        runs.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError

    with (
        Proxy(server.port) as proxy,
        Publisher(server.url, namespace=namespace) as publisher,
        Running(Daemon(router, url=proxy.url, namespace=namespace, **PATIENT)),
    ):
        inspect.script_load(load("claim").text)
        proxy.cut_before_reply(1, needle=load("claim").sha.encode())
        publisher.publish(Found())
        wait_until(lambda: proxy.lost_replies == 1, "the claim is made, its reply is lost")
        wait_until(lambda: len(runs) > 1, "the entry is run all the same", 10)
        wait_until(lambda: inspect.xpending(keys.stream("Found"), "g")["pending"] == 0, "all is acknowledged")

    assert runs == [1, 2]
