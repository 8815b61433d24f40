"""Entries that a consumer holds by the server's word and not by its own: lost replies, found again."""

import asyncio
from datetime import timedelta

from busredis import DomainEvent, Publisher, Router
from busredis.client import AsyncClient
from busredis.codec import Codec
from busredis.daemon.consumer import Consumer
from busredis.delivery.lanes import Gate
from busredis.delivery.pending import Pending
from busredis.delivery.process import Process
from busredis.settings import Settings


class Found(DomainEvent):
    number: int = 0


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
