"""Takes up what waits for another attempt, and what a daemon that died left behind."""

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import timedelta

from busredis.daemon.consumer import Consumer
from busredis.daemon.suspects import Suspects
from busredis.daemon.tidings import Tidings
from busredis.delivery.lanes import Gate
from busredis.delivery.pending import Row
from busredis.delivery.waiting import asked_pause_ms, is_waiting
from busredis.errors import ServerError
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")

#: A consumer that holds nothing is forgotten after so many leases of silence.
_FORGET_AFTER = 20
#: Least pause between two sweeps, however soon an entry is due.
_LEAST_PAUSE = 0.02


class Reclaimer:
    """The sweeps of one consumer through the pending lists of its group."""

    def __init__(self, consumer: Consumer, gate: Gate, settings: Settings) -> None:
        self.pending_in_group = -1
        #: Whether the last sweep found nothing pending, and nothing that could become so without a change of a stream.
        self.is_quiet = False
        self._consumer, self._settings = consumer, settings
        self._lease_ms = int(settings.lease.total_seconds() * 1000)
        self._suspects = Suspects(consumer, gate, self._lease_ms, settings.lease.total_seconds())
        self._stopping = asyncio.Event()
        self._tidings: Tidings | None = None
        self._stirred = asyncio.Event()
        pending = consumer.pending
        # A letter that is tried again, or a replay, changes the pending list and no stream.
        self._keys = [*pending.streams, pending.keys.dead(pending.group), pending.keys.replay(pending.group)]
        self._forget_at = time.monotonic() + settings.lease.total_seconds()

    def use_tidings(self, tidings: Tidings) -> None:
        """From now on it rests while nothing is pending, and nothing can be without its being told."""
        self._tidings = tidings
        tidings.listen(self._keys, lambda _: self._stirred.set())

    async def run(self) -> None:
        """Sweeps until stopped."""
        while not self._stopping.is_set():
            pause, may_rest = self._settings.sweep.total_seconds(), False
            try:
                since = await self._ask()
                pause = min(pause, await self.sweep())
                # What has ended is counted: nothing is left to be written down.
                may_rest = since is not None and self.is_quiet and not self._consumer.settler.held
                # A replay moves the group and changes no stream: who reads may rest beside what is to be read again.
                if not self.is_quiet and self.pending_in_group == 0:
                    self._consumer.release()
                await self._consumer.client.run(self._consumer.stats.flush(self._consumer.pending.keys))
                await self._forget()
            except ServerError as error:
                may_rest = False
                log.debug("sweeping waits for the server: %s", error)
            if may_rest:
                await self._pause(self._stirred, self._settings.lease.total_seconds() * _FORGET_AFTER)
            await self._pause(self._stopping, max(_LEAST_PAUSE, pause))

    async def _pause(self, until: asyncio.Event, seconds: float) -> None:
        # Jitter, so that the sweeps of many daemons do not meet.
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), seconds * random.uniform(0.9, 1.0))  # noqa: S311

    async def _ask(self) -> int | None:
        """Asks to be told of changes, where it seems to pay; None: it is not told."""
        self._stirred.clear()
        if self._tidings is None or not self.is_quiet:
            return None
        await self._tidings.ask(self._keys)
        return self._tidings.since(self._keys)

    async def sweep(self) -> float:
        """One look; returns the seconds until an entry that it saw is due."""
        consumer = self._consumer
        found = await consumer.client.run(consumer.pending.sweep(self._lease_ms))
        self.pending_in_group, self.is_quiet = found.pending, found.is_quiet
        if found.missing:
            await consumer.client.run(
                consumer.pending.ensure(consumer.process.handler.start_id(), restore=True)
            )
            log.warning(
                "group %s was missing on %d stream(s), it is restored",
                consumer.pending.group,
                len(found.missing),
            )
        soonest = float("inf")
        suspects = []
        for row in found.rows:
            if self._stopping.is_set():
                return soonest
            if is_waiting(row.holder):
                soonest = min(soonest, await self._take_waiting(row))
            elif row.holder != consumer.pending.consumer or (row.stream, row.id) in consumer.unanswered:
                suspects.append(row)
            elif (row.stream, row.id) not in consumer.settler.held:
                await consumer.reclaim(row, self._lease_ms, row.count)
        return min(soonest, await self._run_suspects(suspects))

    async def _run_suspects(self, rows: list[Row]) -> float:
        """Runs what silent daemons held, for one sweep at most, so that retries that fall due meanwhile have their turn."""
        until = time.monotonic() + self._settings.sweep.total_seconds()
        for row in rows:
            if self._stopping.is_set() or time.monotonic() > until:
                return 0.0
            await self._suspects.run(row)
        return float("inf")

    async def _take_waiting(self, row: Row) -> float:
        """Takes an entry whose pause is over; returns the seconds until it is."""
        asked = asked_pause_ms(row.holder)
        pause = timedelta(milliseconds=asked) if asked is not None else self._pause_of(row)
        left = pause.total_seconds() - row.idle_ms / 1000
        if left > 0:
            return left
        if not self._consumer.has_room():
            return 0.1
        await self._consumer.reclaim(row, int(pause.total_seconds() * 1000), row.count + 1)
        return float("inf")

    def _pause_of(self, row: Row) -> timedelta:
        return self._consumer.process.handler.pause(max(1, row.count), f"{row.stream} {row.id.decode()}")

    async def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + self._settings.lease.total_seconds()
        await self._consumer.client.run(
            self._consumer.pending.forget_consumers(self._lease_ms * _FORGET_AFTER)
        )

    def stop(self) -> None:
        self._stopping.set()
        self._stirred.set()
