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
from busredis.delivery.pending import Row, Sweep
from busredis.delivery.waiting import asked_pause_ms, is_waiting
from busredis.errors import ServerError
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")

#: A consumer that holds nothing is forgotten after so many leases of silence.
_FORGET_AFTER = 20
#: Least pause between two sweeps, however soon an entry is due, and however much waits.
_LEAST_PAUSE = 0.02
#: So many times as long as a look took nobody looks again: a server that is slow is asked more rarely.
_REST = 5
#: Pause until there may be room for what is due.
_NO_ROOM = 0.1


class Reclaimer:
    """The sweeps of one consumer through the pending lists of its group."""

    def __init__(self, consumer: Consumer, gate: Gate, settings: Settings) -> None:
        self.pending_in_group = -1
        #: Whether the last sweep found nothing pending, and nothing that could become so without a change of a stream.
        self.is_quiet = False
        #: When the first of those that waited is due, of what was seen since the beginning of the lists: a time.monotonic().
        self._soonest = float("inf")
        self._breath = _LEAST_PAUSE
        #: From when on it is to be looked who has fallen silent: a time.monotonic().
        self._others_at = 0.0
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
            await self._pause(self._stopping, pause)

    async def _pause(self, until: asyncio.Event, seconds: float) -> None:
        # Jitter, so that the sweeps of many daemons do not meet.
        seconds = max(self._breath, seconds * random.uniform(0.9, 1.0))  # noqa: S311
        with suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), seconds)

    async def _ask(self) -> int | None:
        """Asks to be told of changes, where it seems to pay; None: it is not told."""
        self._stirred.clear()
        if self._tidings is None or not self.is_quiet:
            return None
        await self._tidings.ask(self._keys)
        return self._tidings.since(self._keys)

    async def sweep(self) -> float:
        """One look, a page of all that is pending; returns the seconds until the next one has something to do."""
        consumer = self._consumer
        found = await self._look()
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
        left = await self._take_up(found.rows)
        # What nobody had time for is not to be looked for again from the beginning.
        consumer.pending.go_on_at(left)
        if left:
            return _NO_ROOM
        if found.more:
            return 0.0
        soonest, self._soonest = self._soonest - time.monotonic(), float("inf")
        return soonest

    async def _look(self) -> Sweep:
        began = time.monotonic()
        # However much waits: who has fallen silent is not more urgent for it.
        others = began >= self._others_at
        found = await self._consumer.client.run(self._consumer.pending.sweep(self._lease_ms, others=others))
        self._breath = max(_LEAST_PAUSE, _REST * (time.monotonic() - began))
        if others and all(is_waiting(row.holder) for row in found.rows):
            self._others_at = began + 0.9 * self._settings.sweep.total_seconds()
        return found

    async def _take_up(self, rows: list[Row]) -> list[Row]:
        """Takes what is due and runs what silent daemons held; returns what there was no room or no time for."""
        consumer = self._consumer
        suspects: list[Row] = []
        left: list[Row] = []
        for row in rows:
            if self._stopping.is_set():
                return []
            if is_waiting(row.holder):
                if not await self._take_waiting(row):
                    left.append(row)
            elif row.holder != consumer.pending.consumer or (row.stream, row.id) in consumer.unanswered:
                suspects.append(row)
            elif (row.stream, row.id) not in consumer.settler.held:
                await consumer.reclaim(row, self._lease_ms, row.count)
        return left + await self._run_suspects(suspects)

    async def _run_suspects(self, rows: list[Row]) -> list[Row]:
        """Runs them for one sweep at most, so that retries that fall due meanwhile have their turn; returns the rest."""
        until = time.monotonic() + self._settings.sweep.total_seconds()
        for done, row in enumerate(rows):
            if self._stopping.is_set() or time.monotonic() > until:
                return rows[done:]
            await self._suspects.run(row)
        return []

    async def _take_waiting(self, row: Row) -> bool:
        """Takes an entry whose pause is over; false if there is no room for it."""
        asked = asked_pause_ms(row.holder)
        pause = timedelta(milliseconds=asked) if asked is not None else self._pause_of(row)
        left = pause.total_seconds() - row.idle_ms / 1000
        if left > 0:
            self._soonest = min(self._soonest, time.monotonic() + left)
        elif not self._consumer.has_room():
            return False
        else:
            await self._consumer.reclaim(row, int(pause.total_seconds() * 1000), row.count + 1)
        return True

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
