"""Nothing that a group needs is trimmed, in whatever order groups read, fail, get lost and acknowledge beside the trimmer."""

import random

import pytest

from busredis import Publisher
from busredis.commands import raw
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.keys import parse_id
from busredis.retention import Limits, trim
from tests.integration.retained import Stored


class Simulation:
    """Groups that read, fail, wait, get lost and are restored, beside a trimmer; and what each still needs."""

    def __init__(self, client, keys, publisher, chance: random.Random) -> None:
        self.client, self.keys, self.publisher, self.chance = client, keys, publisher, chance
        self.stream = keys.stream("Stored")
        self.groups = {name: Pending(keys, name, "c", [self.stream]) for name in ("a", "b", "c")}
        self.needed: dict[str, set[str]] = {name: set() for name in self.groups}
        self.held: dict[str, list[Delivery]] = {name: [] for name in self.groups}
        self.count = 0
        for pending in self.groups.values():
            client.run(pending.ensure("0-0", restore=False))

    def publish(self) -> None:
        events = [Stored(number=self.count + n) for n in range(self.chance.randrange(1, 30))]
        self.count += len(events)
        for entry_id in self.publisher.publish_many(events):
            for needed in self.needed.values():
                needed.add(entry_id)

    def read(self, name: str) -> bool:
        found = self.client.run(self.groups[name].read([self.stream], self.chance.randrange(1, 20), None))
        for stream, entries in found:
            for entry_id, fields in entries:
                self.held[name].append(Delivery(stream.decode(), Stored, entry_id, fields, 1, "c", 0.0))
        return bool(found)

    def settle(self, name: str) -> None:
        self.chance.shuffle(self.held[name])
        some = [self.held[name].pop() for _ in range(min(len(self.held[name]), self.chance.randrange(1, 15)))]
        if not some:
            return
        pending = self.groups[name]
        if self.chance.random() < 0.3:
            for delivery in some:
                assert self.client.run(pending.wait(delivery, Outcome(Verdict.RETRY, error="x")))
            return
        assert not self.client.run(pending.acknowledge(some))
        self.needed[name] -= {delivery.id.decode() for delivery in some}

    def retry(self, name: str) -> None:
        for row in self.client.run(self.groups[name].sweep(10**9)).rows[: self.chance.randrange(1, 10)]:
            fields = self.client.run(self.groups[name].claim(row, 0, row.count + 1))
            if row.holder == "waiting":
                assert fields, f"{row.id!r} waited and is gone"
                self.held[name].append(Delivery(row.stream, Stored, row.id, fields, row.count + 1, "c", 0.0))

    def pending(self, name: str) -> int:
        return self.client.run(self.groups[name].sweep(10**9)).pending

    def lose(self, name: str) -> None:
        """The group is destroyed, as by a failover, and comes back later; what it held is to be read again."""
        self.pending(name)
        self.client.run(raw("XGROUP", "DESTROY", self.stream, name).__iter__())
        self.held[name].clear()
        self.trim(name)
        self.client.run(self.groups[name].ensure("0-0", restore=True))

    def trim(self, _name: str) -> None:
        every = self.client.run(_ids(self.stream))
        limits = self.chance.choice(
            [
                Limits(),
                Limits(keep=self.chance.randrange(50)),
                Limits(once_read=True),
                Limits(first_kept=self.chance.choice(every or ["5-0"])),
            ]
        )
        self.client.run(trim(self.keys, "Stored", limits))
        self.check()

    def check(self) -> None:
        there = set(self.client.run(_ids(self.stream)))
        for name, needed in self.needed.items():
            assert needed <= there, f"group {name} needs {sorted(needed - there, key=parse_id)[:5]}"


def _ids(stream: str):
    found = yield from raw("XRANGE", stream, "-", "+")
    return [entry_id.decode() for entry_id, _ in found]


@pytest.mark.parametrize("seed", [*range(4), None])
def test_nothing_that_is_unread_pending_waiting_or_to_be_restored_is_ever_trimmed(
    server, namespace, client, inspect, keys, seed
):
    seed = random.randrange(10**6) if seed is None else seed
    chance = random.Random(seed)
    with Publisher(server.url, namespace=namespace) as publisher:
        world = Simulation(client, keys, publisher, chance)
        for _ in range(250):
            step = chance.choices(
                [world.read, world.settle, world.retry, world.trim, world.lose], [5, 6, 2, 4, 0.3]
            )[0]
            if chance.random() < 0.2:
                world.publish()
            step(chance.choice("abc"))

        for name in "abc":
            # What was read again after a loss has to be acknowledged too, and the checkpoint moved.
            while world.read(name) or world.held[name] or world.pending(name):
                world.retry(name)
                world.settle(name)
            assert not world.needed[name]
        world.check()
        assert client.run(trim(keys, "Stored", Limits())).pinned_by == ""
    assert inspect.xlen(keys.stream("Stored")) == 0, f"seed {seed}: all was acknowledged, and could go"
    assert world.count > 500
