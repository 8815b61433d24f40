"""What the owner of an ordered handler has in hand, and what it puts back into the pending list."""

from typing import TYPE_CHECKING

from busredis.daemon.intake import Intake
from busredis.delivery.ordered_lanes import Lane, Queues, Ref
from busredis.delivery.ordered_pending import Parked, Take
from busredis.keys import BEHIND, WAITING

if TYPE_CHECKING:
    from busredis.daemon.ordered import OrderedConsumer

#: What was never started, or handed back: its first attempt is to come.
_FRESH = (BEHIND, f"{WAITING}-0")


class Hand:
    """At most `prefetch` entries with their fields and events; at most an eighth of them of one key."""

    def __init__(self, consumer: "OrderedConsumer", queues: Queues, intake: Intake, prefetch: int) -> None:
        self._consumer, self._pending = consumer, consumer.pending
        self._queues, self._intake, self._prefetch = queues, intake, prefetch
        self._most_of_key = max(1, prefetch // 8)

    def room(self) -> int:
        return self._prefetch - self._queues.in_hand

    async def ask(self, lanes: list[Lane]) -> dict[Lane, Parked | None]:
        """Of lanes that may have dead letters: behind what the first entry is to be parked; None: it cannot be told yet."""
        behind: dict[Lane, Parked | None] = {}
        if not lanes:
            return behind
        found = await self._consumer.client.run(self._pending.first_parked([lane.key for lane in lanes]))
        for lane, parked in zip(lanes, found, strict=True):
            head = lane.refs[0]
            if parked is None:
                lane.asks = False
            elif parked.position == head.position:
                head.parked = parked
            elif parked.position < head.position:
                behind[lane] = parked if parked.letter else None
                if not parked.letter:
                    self._intake.look_again()
        return behind

    async def take(self, lanes: list[Lane]) -> None:
        """Takes in hand what is to be started and is not."""
        refs: list[Ref] = []
        heads = sum(lane.refs[0].delivery is None for lane in lanes)
        spare = self.room() - heads
        for lane in lanes:
            head = lane.refs[0]
            if head.delivery is not None or head.suspect:
                continue
            refs.append(head)
            for ref in lane.refs[1 : self._most_of_key]:
                if ref.holder not in _FRESH or ref.delivery is not None or spare <= 0:
                    break
                refs.append(ref)
                spare -= 1
        if not refs:
            return
        wanted = [Take(ref.row(), self._count(ref)) for ref in refs]
        taken = await self._consumer.client.run(self._pending.take(wanted))
        for ref, take, found in zip(refs, wanted, taken, strict=True):
            if found.fields is not None:
                self._queues.hold(ref, self._consumer.delivery(take.row, found.fields, take.attempt))
            elif found.row is not None:
                self._intake.update(ref, found.row)
            else:
                self._intake.gone(ref)

    def _count(self, ref: Ref) -> int:
        # What is ours already was never started: its attempt began when it was taken.
        return max(1, ref.count) if ref.holder == self._pending.consumer else ref.count + 1

    async def defer(self) -> None:
        """Puts what is in hand in vain back into the pending list: it would take the place of other keys."""
        refs = [ref for lane in self._intake.crowded for ref in lane.beyond(self._most_of_key)]
        self._intake.crowded.clear()
        deliveries = [ref.delivery for ref in refs if ref.delivery is not None]
        for ref, delivery in zip(refs, deliveries, strict=True):
            self._queues.drop(ref)
            ref.holder, ref.count, ref.due = BEHIND, delivery.attempt - 1, 0.0
        if deliveries:
            await self._consumer.client.run(self._pending.defer(deliveries))
