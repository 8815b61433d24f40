"""What the owner of an ordered handler knows: what is pending, looked through, and what is new, read in total order."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from busredis.delivery.ordered_lanes import Lane, Queues, Ref
from busredis.delivery.pending import Row
from busredis.delivery.waiting import asked_pause_ms, is_waiting
from busredis.errors import ServerError
from busredis.keys import WAITING

if TYPE_CHECKING:
    from busredis.daemon.ordered import OrderedConsumer

#: Most pending entries that are known at a time, some 300 bytes each; beyond, nothing new is read.
MOST_KNOWN = 50_000
#: Pending entries of a stream looked at in one call.
_PAGE = 200


class Intake:
    """Fills the queues of one tenure: first with all that is pending, then with what is new; after a doubt, anew."""

    def __init__(
        self, consumer: "OrderedConsumer", queues: Queues, prefetch: int, wake: Callable[[], None]
    ) -> None:
        #: Lanes in which more may be in hand than should be.
        self.crowded: set[Lane] = set()
        #: Whether any key may have dead letters.
        self.has_parked = True
        self._letters = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._consumer, self._pending, self._queues = consumer, consumer.pending, queues
        self._prefetch, self._wake = prefetch, wake
        self._after: bytes | None = b"0-0"
        self._look_number = 1
        self._left, self._reached = "more", dict.fromkeys(consumer.pending.streams, "0-0")
        self._settled_meanwhile: set[tuple[str, bytes]] = set()

    def is_looking(self) -> bool:
        """Whether the pending lists are being looked through."""
        return self._after is not None

    def look_again(self) -> None:
        """Looks through the pending lists before anything new is read: something is not as it was believed."""
        self._after = b"0-0"
        self._look_number += 1
        self._wake()

    def settled(self, ref: Ref) -> None:
        """What a look has seen of this entry meanwhile is not so any more."""
        if self._after is not None:
            self._settled_meanwhile.add((ref.stream, ref.id))
            ref.seen = self._look_number  # if it is pending still, to be tried again

    def parked(self, key: str) -> None:
        """A key has a dead letter, or may have one: what comes behind it has to ask."""
        self._letters += 1
        self.has_parked = True
        lane = self._queues.lanes.get(key)
        if lane is not None:
            lane.asks = lane.has_key

    def _learn(self, has_parked: bool, letters: int) -> None:
        # One that was written while the server was asked may not be in its answer.
        self.has_parked = has_parked or self._letters != letters

    def update(self, ref: Ref, row: Row) -> None:
        """An entry that is not in hand is as the server says."""
        ref.holder, ref.count, ref.due = row.holder, row.count, self.due(row.holder, row)
        ref.suspect = ref.suspect and not is_waiting(row.holder)

    def gone(self, ref: Ref) -> None:
        """An entry has been settled, and nobody knows how."""
        self._queues.remove(ref)
        self.parked(ref.lane.key)

    async def step(self) -> bool:
        """Looks or reads, if there is room for what it finds; whether it did."""
        if len(self._queues.known) >= MOST_KNOWN and not self._queues.is_idle():
            return False
        if self._after is not None:
            await self._look(self._after)
            return True
        in_hand = self._queues.in_hand
        if self._left != "more" or in_hand * 2 > self._prefetch:
            return False
        await self._read(self._prefetch - in_hand)
        return True

    async def _look(self, after: bytes) -> None:
        self._settled_meanwhile.clear()
        number, letters = self._look_number, self._letters
        page = await self._consumer.client.run(self._pending.page(after, _PAGE))
        self._learn(page.has_parked, letters)
        for row, fields in page.rows:
            if (row.stream, row.id) not in self._settled_meanwhile:
                self._note(row, fields)
        if self._look_number != number:
            return
        self._after = page.after
        if page.after is None:
            for ref in list(self._queues.known.values()):
                if ref.seen < number and ref.delivery is None and not ref.runs:
                    ref.due = 0.0  # gone, as it seems: whoever takes it will be told
            self._queues.wake_all()

    def _note(self, row: Row, fields: list[bytes] | None) -> None:
        ref = self._queues.known.get((row.stream, row.id))
        if ref is not None and (ref.delivery is not None or ref.runs):
            ref.seen = self._look_number
            return
        if fields is not None and not is_waiting(row.holder) and row.holder != self._pending.consumer:
            row, is_suspect = replace(row, holder=self._pending.consumer), True  # the look has moved it
        else:
            is_suspect = ref is not None and ref.suspect
        if ref is not None:
            ref.seen, ref.suspect = self._look_number, is_suspect
            self.update(ref, row)
            self._queues.wake(ref.lane)
            return
        key = self._consumer.key_of(row.stream, row.id, fields) if fields else ""
        lane = self._queues.lane(key, (row.stream, row.id), asks=self.has_parked)
        due = self.due(row.holder, row)
        ref = Ref(row.stream, row.id, lane, row.holder, row.count, due, is_suspect, seen=self._look_number)
        self._queues.add(ref)
        if lane.in_hand:
            self.crowded.add(lane)

    def due(self, holder: str, row: Row) -> float:
        """When an entry that waits there is to be tried again, a time.monotonic()."""
        asked = asked_pause_ms(holder)
        if asked is not None:
            pause = timedelta(milliseconds=asked)
        elif holder == WAITING:
            pause = self._consumer.pause_of(row)
        else:
            return 0.0
        return time.monotonic() + pause.total_seconds() - row.idle_ms / 1000

    async def _read(self, room: int) -> None:
        began = time.monotonic()
        letters = self._letters
        most = max(1, room // len(self._pending.streams))
        found = await self._consumer.client.run(self._pending.read_new(most))
        self._consumer.told_all_is_well()
        self._learn(found.has_parked, letters)
        for stream, entry_id, fields in found.entries:
            again = self._queues.known.get((stream, entry_id))
            if again is not None:  # a replay has moved the group back
                if again.delivery is None and not again.runs:
                    self.update(again, Row(stream, entry_id, self._pending.consumer, 0, 1))
                    self._queues.wake(again.lane)
                continue
            delivery = self._consumer.delivery(Row(stream, entry_id, self._pending.consumer, 0, 1), fields, 1)
            lane = self._queues.lane(delivery.key, (stream, entry_id), asks=self.has_parked)
            self._queues.add(Ref(stream, entry_id, lane, delivery.holder, 1, delivery=delivery))
            self.crowded.add(lane)
        # Only now: after an error among them nobody would watch for more, and nobody would read any more.
        self._left, self._reached = found.left, found.reached
        if found.left == "soon":
            asyncio.get_running_loop().call_later(0.001, self._more)
        self._consumer.empty_since = began if found.left == "none" and not found.entries else 0.0
        if found.left == "none":
            task = asyncio.create_task(self._watch(), name="watch")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _watch(self) -> None:
        """Waits until one of the streams has more."""
        try:
            await self._consumer.await_entries(self._reached)
        except ServerError:
            await asyncio.sleep(0.1)
        self._more()

    def _more(self) -> None:
        if self._left != "more":
            self._left = "more"
            self._wake()
