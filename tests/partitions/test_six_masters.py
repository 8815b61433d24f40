"""All that a bus does, on a cluster of six masters whose slots move meanwhile; with `make cluster` also while masters die."""

import os
import random
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import timedelta

import pytest
from pydantic import BaseModel

from busredis import (
    Daemon,
    DomainEvent,
    EventSourcedAggregate,
    EventStore,
    Publisher,
    Reject,
    Repository,
    Router,
    SnapshotPolicy,
    applies,
)
from busredis.client import Client
from busredis.cluster import slot_of
from busredis.commands import many
from busredis.dead_letters import DeadLetters
from busredis.histories import find_everywhere
from busredis.partitions import all_keys
from busredis.status import read_status
from tests.clusters import TestCluster, kill_the_owner
from tests.waiting import wait_until

COUNT, AGGREGATES, LATER = 24, 30, 1_000_000
#: With `make cluster`: more of it, replicas, and a master that is killed in each round.
ROUNDS = int(os.environ.get("BUSREDIS_CLUSTER_ROUNDS", "0"))
BATCHES, BATCH = 20 * max(1, ROUNDS), 30
FAST = {"sweep": timedelta(seconds=0.2), "block": timedelta(seconds=0.2), "lease": timedelta(seconds=3)}


class SixPaid(DomainEvent):
    number: int = 0


class SixStepped(DomainEvent):
    pass


class SixState(BaseModel):
    steps: int = 0


class SixCount(EventSourcedAggregate[SixState], snapshots=SnapshotPolicy(every=5)):
    @applies(SixStepped)
    def _stepped(self, _event: SixStepped) -> None:
        self.state.steps += 1


class Seen:
    """Handlers, and what they saw."""

    def __init__(self) -> None:
        self.router = Router()
        self.tries: Counter[int] = Counter()
        self.gathered: Counter[int] = Counter()
        self.in_order: defaultdict[str, list[int]] = defaultdict(list)

        @self.router.on(SixPaid, name="gather", max_attempts=20, backoff=0.05)
        async def gather(event, ctx):
            self.tries[event.number] += 1
            if is_rejected(event.number):
                raise Reject("never")
            if event.number % 17 == 3 and self.tries[event.number] == 1:
                raise ValueError("once")
            self.gathered[event.number] += 1
            ctx.effects.add("INCRBY", ctx.view("count"), 1)

        @self.router.on(SixPaid, name="in-order", ordered=True)
        async def in_order(event):
            if event.number < LATER:
                self.in_order[event.aggregate_id].append(event.number)


def is_rejected(number: int) -> bool:
    return number % 41 == 5


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    with TestCluster(tmp_path_factory.mktemp("six"), masters=6, replicas=ROUNDS > 0) as running:
        yield running


def spread(cluster: TestCluster, parts) -> None:
    """Lets every master have a share, whatever slots the names of this test come to."""
    masters = cluster.masters_now()
    for number, keys in enumerate(parts):
        target = masters[number % len(masters)]
        if cluster.owner(slot_of(keys.tag)) is not target:
            cluster.move_slot(slot_of(keys.tag), target)
    assert len({cluster.owner(slot_of(keys.tag)).port for keys in parts}) == 6


@contextmanager
def running(target, *args):
    """A thread, and that it ended well."""
    problems = []

    def run():
        try:
            target(*args)
        except BaseException as error:  # noqa: BLE001 - shown by the thread that waits
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(timeout=60)
    assert not thread.is_alive()
    if problems:
        raise problems[0]


class Moves:
    """Moves the slots of partitions from master to master, until it is told to stop."""

    def __init__(self, cluster: TestCluster, parts) -> None:
        self.cluster, self.parts = cluster, parts
        self.moved = 0
        self._pause, self._stop = threading.Lock(), threading.Event()

    def run(self) -> None:
        chance = random.Random(7)
        while not self._stop.wait(0.1):
            with self._pause:
                slot = slot_of(chance.choice(self.parts).tag)
                owner = self.cluster.owner(slot)
                self.cluster.move_slot(
                    slot, chance.choice([n for n in self.cluster.masters_now() if n is not owner])
                )
            self.moved += 1

    def stop(self) -> None:
        self._stop.set()

    @contextmanager
    def resting(self):
        with self._pause:
            yield


class Work:
    """What the test does to the cluster, and what must have come of it."""

    def __init__(self, parts, client: Client, seen: Seen) -> None:
        self.wanted: defaultdict[str, list[int]] = defaultdict(list)
        self._parts, self._client, self._seen = parts, client, seen

    def publish(self, publisher: Publisher, batch: int) -> None:
        """Events now, and one for later."""
        numbers = range(batch * BATCH, (batch + 1) * BATCH)
        publisher.publish_many([SixPaid(number=n, aggregate_id=f"a-{n % AGGREGATES}") for n in numbers])
        for n in numbers:
            self.wanted[f"a-{n % AGGREGATES}"].append(n)
        later = LATER + batch
        publisher.schedule(SixPaid(number=later, aggregate_id=f"l-{later}"), delay=0.5, key=f"l-{later}")

    def step(self, repository: Repository, batch: int) -> None:
        for _ in range(3):
            repository.update(
                SixCount, f"c-{batch % 10}", lambda it: it.raise_event(SixStepped()), create=True
            )

    def in_order(self) -> set[int]:
        return {n for found in self.wanted.values() for n in found}

    def numbers(self) -> set[int]:
        return self.in_order() | {LATER + n for n in range(BATCHES)}

    def is_done(self) -> bool:
        letters = len(self._client.run(DeadLetters(self._parts).list("gather", limit=10_000)))
        handled = {n for found in self._seen.in_order.values() for n in found}
        return (
            len(self._seen.gathered) + letters == len(self.numbers())
            and handled == self.in_order()
            and self._is_quiet()
        )

    def _is_quiet(self) -> bool:
        """What a failover made pending again, or due, is done too."""
        status = self._client.run(read_status(self._parts))
        open_ = sum(group.lag + group.pending + group.waiting for group in status.groups)
        return open_ + status.schedule.waiting == 0


@pytest.mark.timeout(180 + 120 * ROUNDS)
def test_everything_is_done_and_nothing_is_lost_on_six_masters_while_slots_move(six, namespace):
    parts, seen, client = all_keys(namespace, COUNT), Seen(), Client(six.url)
    spread(six, parts)
    daemons = [
        Daemon(seen.router, url=six.url, namespace=namespace, partitions=COUNT, **FAST) for _ in range(2)
    ]
    moves, work = Moves(six, parts), Work(parts, client, seen)
    durability = "replica" if ROUNDS else "memory"
    options = {"namespace": namespace, "partitions": COUNT, "publish_timeout": 30, "durability": durability}

    with running(daemons[0].run), running(daemons[1].run), running(moves.run):
        try:
            with Publisher(six.url, **options) as publisher, EventStore(six.url, **options) as store:
                for batch in range(BATCHES):
                    work.publish(publisher, batch)
                    work.step(Repository(store), batch)
                    if ROUNDS and batch % 20 == 10:
                        with moves.resting():
                            kill_the_owner(six, slot_of(parts[batch % COUNT].tag))
                wait_until(lambda: moves.moved >= 10, "slots were moved", 60)
            wait_until(work.is_done, "all is handled, or a dead letter", 90)
        finally:
            moves.stop()
            for daemon in daemons:
                daemon.stop()

    print(
        f"\nsix masters: {moves.moved} slots were moved, {ROUNDS} masters killed, {len(work.numbers()):,} events"
    )
    check(client, parts, seen, work)
    with EventStore(six.url, **options) as store:
        for n in range(10):
            counted = Repository(store).load(SixCount, f"c-{n}")
            assert counted.version == counted.state.steps == 3 * BATCHES // 10
    snapshots = client.run(find_everywhere(parts, "SixCount", snapshots=True))
    assert {one.id for one in snapshots} == {f"c-{n}" for n in range(10)}
    client.close()


def check(client: Client, parts, seen: Seen, work: Work) -> None:
    numbers = work.numbers()
    letters = client.run(DeadLetters(parts).list("gather", limit=10_000))
    rejected = {n for n in numbers if is_rejected(n)}
    assert {n for n in seen.tries if is_rejected(n)} == rejected
    assert len(letters) == len(rejected)
    assert set(seen.gathered) == numbers - rejected
    assert all(seen.tries[n] >= 2 for n in numbers - rejected if n % 17 == 3)
    effects = client.run(many([("GET", keys.view("count")) for keys in parts]))
    assert sum(int(count or 0) for count in effects) == len(numbers - rejected)
    for aggregate, found in work.wanted.items():
        # At least once: what was handled again after a move is no other order.
        assert list(dict.fromkeys(seen.in_order[aggregate])) == found
    status = client.run(read_status(parts))
    assert {row.event_type: row.length for row in status.streams} == {
        "SixPaid": len(numbers),
        "SixStepped": 3 * BATCHES,
    }
    assert [(group.group, group.lag, group.pending + group.waiting) for group in status.groups] == [
        ("gather", 0, 0),
        ("in-order", 0, 0),
    ]
    assert status.schedule.waiting == 0
