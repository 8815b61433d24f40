"""Reads new entries of one group and gives them to its lanes."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from busredis.client import AsyncClient
from busredis.daemon.reader import SharedReader
from busredis.daemon.report import report
from busredis.daemon.stats import Stats
from busredis.delivery.lanes import Gate, Lanes
from busredis.delivery.model import ACK, Delivery, Outcome
from busredis.delivery.pending import Pending, Row
from busredis.delivery.process import Process
from busredis.delivery.settle import Settler
from busredis.delivery.shared import lanes_of
from busredis.errors import ConnectionLost, GroupMissing, ServerError
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")

#: How much work, in seconds, a consumer takes in hand beyond what runs.
_AHEAD = 0.25
#: For how long room is kept for what waits and is due: longer than until the next look for it.
_KEPT_S = 0.3


class Consumer:
    """One handler in one daemon: its reading, its lanes, its settler."""

    def __init__(
        self, pending: Pending, process: Process, client: AsyncClient, gate: Gate, settings: Settings
    ) -> None:
        self.pending, self.process, self.client = pending, process, client
        self.stats = Stats(process.handler.name)
        self.settler = Settler(pending, client, self._settled, process.judge)
        self.lanes: Lanes = lanes_of(process, self.settler, gate, pending.streams)
        #: When the last read began that found nothing; 0 before there was one.
        self.empty_since = 0.0
        self.settled_at = 0.0
        #: With `burst`, one that stands by has to know whether others have left anything.
        self.ends_when_empty = False
        self._settings = settings
        self._classes = {pending.keys.stream(cls.type_name): cls for cls in process.handler.event_classes()}
        self._reader: AsyncClient | SharedReader | None = None
        #: Whether a read or a claim got no answer, so that entries may be this consumer's that it knows nothing of.
        self._in_doubt = False
        self._reclaiming: set[tuple[str, bytes]] = set()
        #: Suspects whose claim has no answer yet, or never got one, and whether it is to give them up.
        self.unanswered: dict[tuple[str, bytes], bool] = {}
        self._stopping = False
        self._room = asyncio.Event()
        self._limit = min(32, settings.prefetch)
        self._is_reading = False
        #: Whether the last read left something behind.
        self._is_behind = False
        #: By how many more than now may be pending once the read has ended that is under way.
        self._asked = 0
        #: How much of the room is kept for what waits and is due.
        self._kept = 0
        self._failure: ServerError | None = None
        self.settler.refill = self

    def use_reader(self, reader: "AsyncClient | SharedReader") -> None:
        """Blocking reads have a connection of their own, whose timeout is longer than BLOCK."""
        self._reader = reader

    def _block(self) -> timedelta:
        """For how long a read may wait."""
        return self._reader.patience if isinstance(self._reader, SharedReader) else self._settings.block

    def release(self) -> None:
        """Ends a read that rests: there is something that it has not seen, or something else to do."""
        self._room.set()
        if isinstance(self._reader, SharedReader):
            self._reader.release(self.pending.streams)

    async def prepare(self) -> None:
        """Creates the group where it is missing. Raises ServerError."""
        await self.client.run(self.pending.ensure(self.process.handler.start_id(), restore=False))

    async def run(self) -> None:
        """Reads until stopped; survives whatever the server does."""
        pause, told = 0.05, False
        while not self._stopping:
            try:
                if self._in_doubt and not self._is_reading:
                    await self._recover_own()
                await self._read_some()
            except GroupMissing as error:
                await self._restore(error)
            except ServerError as error:
                if not told:
                    log.warning(
                        "reading waits for the server: %s", error, extra={"group": self.pending.group}
                    )
                    told = True
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(pause * 2, self._settings.reconnect_cap.total_seconds())
                self._in_doubt = self._in_doubt or isinstance(error, ConnectionLost)
            else:
                if told:
                    log.info("reading goes on", extra={"group": self.pending.group})
                pause, told = 0.05, False

    async def _read_some(self) -> None:
        assert self._reader is not None
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure
        if self.lanes.are_stuck():
            await asyncio.sleep(_KEPT_S)
            return
        streams = self.pending.streams
        room = min(self.room() - self._kept, self._bound() - self._spare() - len(self.settler.held))
        if room < len(streams) or self._is_reading or (self._is_behind and not self._in_doubt):
            self._room.clear()
            await self._room.wait()
            return
        # COUNT is for each stream (https://redis.io/docs/latest/commands/xreadgroup/): share the room among them.
        count = max(1, room // len(streams))
        block = max(1, int(self._block().total_seconds() * 1000))
        began = time.monotonic()
        self._is_reading, self._asked = True, count * len(streams)
        try:
            reply = await self._reader.run(self.pending.read(streams, count, block))
        finally:
            self._is_reading, self._asked = False, 0
        self.empty_since = 0.0 if reply else began
        self._take_reply(reply, count)

    def _take_reply(self, reply: list[Any], count: int) -> None:
        now = time.monotonic()
        self._is_behind = False
        for stream, entries in reply:
            name = stream.decode()
            cls, consumer = self._classes[name], self.pending.consumer
            found = [Delivery(name, cls, entry_id, fields, 1, consumer, now) for entry_id, fields in entries]
            self.take(list(map(self._marked, found)) if self.pending.may_replay else found)
            self._is_behind = self._is_behind or len(entries) >= count

    def _marked(self, delivery: Delivery) -> Delivery:
        """A delivery, with what a replay makes of it."""
        if self.pending.is_replay(delivery.stream, delivery.id):
            delivery.replaying = True
            delivery.left_out = self.process.handler.side_effects and not self.pending.with_side_effects
        return delivery

    # As long as there is more than fits, what acknowledges reads as well: half of the round trips, and the server
    # takes the acknowledgements first, so that there is never more than `prefetch` in hand.

    def wanted(self, settled: int) -> int:
        room = self.room() - self._kept + settled
        least = max(self._limit / 2, len(self.pending.streams))
        if self._stopping or self._is_reading or not self._is_behind or self._in_doubt or room < least:
            return 0
        # One read at a time: two replies could come in the wrong order, and what is on its way is not in doubt.
        self._is_reading, self._asked = True, max(0, room - settled)
        return room // len(self.pending.streams)

    def arrived(self, reply: list[Any] | ServerError, wanted: int) -> None:
        self._is_reading, self._asked = False, 0
        if isinstance(reply, ServerError):
            # The reader knows what to do about it, as if it had been its own read.
            self._is_behind = False
            self._failure, self._in_doubt = reply, True
            self._room.set()
            return
        self._take_reply(reply, wanted)
        if not self._is_behind or self._in_doubt:
            self._room.set()

    def enough(self) -> int:
        return min(self.lanes.waiting(), self._limit // 2)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Holds deliveries and gives them to the lanes."""
        self.settler.hold_all(deliveries)
        self.lanes.put(deliveries)

    def room(self) -> int:
        """For how many more there is room, as long as nothing is on its way."""
        limit = 0 if self.lanes.are_stuck() else max(self._limit, len(self.pending.streams))
        return limit - len(self.settler.held) - len(self._reclaiming)

    def has_room(self) -> bool:
        """Whether one more that waits may be taken up; if not, a part of what ends makes room for it.

        For while there is more to read, who acknowledges reads in the same step, and there never is any room.
        """
        if min(self.room(), self._bound() - len(self.settler.held) - self._asked) > 0:
            return True
        if not self._kept:
            self._kept = max(1, self._limit // 2)
            self.release()  # a read that rests may take all the room
            asyncio.get_running_loop().call_later(_KEPT_S, self._keep, 0)
        return False

    def _keep(self, kept: int) -> None:
        self._kept = kept
        self._room.set()

    def _bound(self) -> int:
        """Never are more pending."""
        return max(self._settings.prefetch, len(self.pending.streams))

    def _spare(self) -> int:
        """What a read leaves that may block: what falls due meanwhile need not wait for its end."""
        return min(self._bound() // 8, self._bound() - len(self.pending.streams))

    def _settled(self, batch: Sequence[tuple[Delivery, Outcome]]) -> None:
        self.stats.count(batch)
        self.settled_at = time.monotonic()
        for delivery, outcome in batch:
            if outcome is not ACK or delivery.lost:
                report(delivery, outcome, self.pending.group)
        took = sum(delivery.ended_at - delivery.started_at for delivery, _ in batch) / len(batch)
        concurrency = self.process.handler.concurrency
        fitting = int(_AHEAD * concurrency / max(took, 1e-6))
        self._limit = max(concurrency, min(self._settings.prefetch, self._limit * 2, fitting))
        if not self.settler.held or self.room() * 2 >= self._limit:
            self._is_behind = False  # what ended was not acknowledged with a read: the reader has its turn
            self._room.set()

    async def _restore(self, error: Exception) -> None:
        log.warning("group %s is missing, it is restored: %s", self.pending.group, error)
        try:
            await self.client.run(self.pending.ensure(self.process.handler.start_id(), restore=True))
        except ServerError:
            await asyncio.sleep(0.2)

    async def _recover_own(self) -> None:
        """Takes what was delivered to this consumer in a reply that got lost. Raises ServerError: then all is to be done again."""
        for row in await self.client.run(self.pending.own()):
            if not any((row.stream, row.id) in known for known in (self.settler.held, self.unanswered)):
                await self.reclaim(row, 0, row.count)
        self._in_doubt = False

    async def reclaim(self, row: Row, least_idle_ms: int, count: int) -> Delivery | None:
        """Takes a pending entry over and gives it to the lanes; None if another daemon was faster, or it is here already."""
        key = row.stream, row.id
        # A sweep and the recovery after a lost reply may find the same entry of this consumer at the same time.
        if key in self._reclaiming or key in self.settler.held:
            return None
        self._reclaiming.add(key)
        try:
            delivery = await self.claim(row, least_idle_ms, count)
            if delivery is not None:
                self.take([delivery])
                self._kept = max(0, self._kept - 1)
        except ConnectionLost:
            # The claim may have been made, and its attempt counted: it is not to be wasted.
            self._in_doubt = True
            self.release()
            raise
        finally:
            self._reclaiming.discard(key)
            self._room.set()
        return delivery

    async def claim(
        self, row: Row, least_idle_ms: int, count: int, *, alone: bool = False
    ) -> Delivery | None:
        """Takes a pending entry over; None if another daemon was faster. The caller takes or settles it."""
        fields = await self.client.run(self.pending.claim(row, least_idle_ms, count, alone=alone))
        if fields is None:
            return None
        gone = fields == []
        delivery = Delivery(
            stream=row.stream,
            event_class=self._classes[row.stream],
            id=row.id,
            fields=None if gone else fields,
            attempt=row.count if gone else count,
            holder=row.holder if gone else self.pending.consumer,
            taken_at=time.monotonic(),
        )
        return self._marked(delivery)

    def stop(self) -> None:
        """Reads no more; a read that blocks ends within `block`, one that rests when its reader is told to release it."""
        self._stopping = True
        self._room.set()
