"""Passes over all aggregates: what is due is snapshotted, and one that cannot be ends nothing."""

from pydantic import BaseModel

from busredis import (
    AsyncEventStore,
    AsyncRepository,
    DomainEvent,
    EventSourcedAggregate,
    SnapshotPolicy,
    applies,
)
from busredis.client import AsyncClient
from busredis.snapshotter import Snapshotter


class Dripped(DomainEvent):
    into: int = 1


class BucketState(BaseModel):
    drops: float = 0


class Bucket(EventSourcedAggregate[BucketState], events=(Dripped,), snapshots=SnapshotPolicy(every=3)):
    @applies(Dripped)
    def _dripped(self, event: Dripped) -> None:
        self.state.drops += 1 / event.into


async def test_one_that_cannot_be_loaded_is_logged_and_the_others_are_snapshotted(
    server, namespace, inspect, keys, caplog
):
    client = AsyncClient(server.url)
    async with AsyncEventStore(server.url, namespace=namespace) as store:
        for name, into, count in (
            ("a", 1, 3),
            ("broken", 0, 3),
            ("damaged", 1, 3),
            ("small", 1, 2),
            ("z", 1, 4),
        ):
            await store.append(("Bucket", name), 0, [Dripped(into=into) for _ in range(count)])
        inspect.lset(keys.aggregate("Bucket", "damaged"), 1, "Dripped 1-1")
        snapshotter, told = Snapshotter([Bucket], AsyncRepository(store)), []

        done = await snapshotter.pass_over_all([keys], client, lambda now: told.append(now.looked_at))

    assert (done.looked_at, done.written, done.failed) == (5, 2, 2)
    assert told[-1] == 5
    assert [bool(inspect.exists(keys.snapshot("Bucket", name))) for name in ("a", "z", "small")] == [
        True,
        True,
        False,
    ]
    assert "Bucket 'broken' cannot be snapshotted" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "Bucket 'damaged' cannot be snapshotted" in caplog.text
    await client.close()
