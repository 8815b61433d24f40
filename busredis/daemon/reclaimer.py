"""Takes up what waits for another attempt, and what a daemon that died left behind."""

import asyncio
import logging
import random
import time
from datetime import timedelta

from busredis.daemon.consumer import Consumer
from busredis.delivery.lanes import Gate, in_daemon_thread
from busredis.delivery.model import RELEASE, Delivery, Outcome
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
        self._consumer, self._gate, self._settings = consumer, gate, settings
        self._lease_ms = int(settings.lease.total_seconds() * 1000)
        self._stopping = asyncio.Event()
        self._forget_at = time.monotonic() + settings.lease.total_seconds()

    async def run(self) -> None:
        """Sweeps until stopped."""
        while not self._stopping.is_set():
            pause = self._settings.sweep.total_seconds()
            try:
                pause = min(pause, await self.sweep())
                await self._consumer.client.run(self._consumer.stats.flush(self._consumer.pending.keys))
                await self._forget()
            except ServerError as error:
                log.debug("sweeping waits for the server: %s", error)
            # Jitter, so that the sweeps of many daemons do not meet.
            pause = max(_LEAST_PAUSE, pause * random.uniform(0.9, 1.0))  # noqa: S311
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                continue

    async def sweep(self) -> float:
        """One look; returns the seconds until an entry that it saw is due."""
        consumer = self._consumer
        found = await consumer.client.run(consumer.pending.sweep(self._lease_ms))
        self.pending_in_group = found.pending
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
            elif row.holder != consumer.pending.consumer:
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
            await self._run_suspect(row)
        return float("inf")

    async def _take_waiting(self, row: Row) -> float:
        """Takes an entry whose pause is over; returns the seconds until it is."""
        asked = asked_pause_ms(row.holder)
        pause = timedelta(milliseconds=asked) if asked is not None else self._pause_of(row)
        left = pause.total_seconds() - row.idle_ms / 1000
        if left > 0:
            return left
        if self._consumer.room() <= 0:
            return 0.1
        await self._consumer.reclaim(row, int(pause.total_seconds() * 1000), row.count + 1)
        return float("inf")

    def _pause_of(self, row: Row) -> timedelta:
        return self._consumer.process.handler.pause(max(1, row.count), f"{row.stream} {row.id.decode()}")

    async def _run_suspect(self, row: Row) -> None:
        """Runs an entry of a daemon that fell silent: it may be what killed it.

        One suspect at a time in a process, so that no innocent entry dies with it again and again; at its last
        attempt nothing at all runs beside it, and only an entry that did not finish alone is found guilty: one that was
        read and never started, or that was hit by another, has its attempt first.
        """
        consumer, last = self._consumer, self._consumer.process.handler.max_attempts
        async with self._gate.suspects:
            if row.count >= last and await consumer.client.run(consumer.pending.was_alone(row)):
                await self._give_up(row)
                return
            count = row.count + 1 if row.count < last else row.count
            alone = count >= last
            if alone:
                self._gate.close()
                await self._quiet()
            try:
                delivery = await consumer.claim(row, self._lease_ms, count, alone=alone)
                if delivery is not None:
                    await self._run(delivery)
                    await consumer.settler.flush()
            finally:
                if alone:
                    self._gate.open()

    async def _give_up(self, row: Row) -> None:
        consumer = self._consumer
        delivery = await consumer.claim(row, self._lease_ms, row.count)
        if delivery is not None:
            outcome = consumer.process.crashed(delivery)
            if delivery.fields is None:
                outcome.reason = "trimmed"
            consumer.settler.hold(delivery)
            consumer.settler.add(delivery, outcome)

    async def _run(self, delivery: Delivery) -> None:
        consumer = self._consumer
        consumer.settler.hold(delivery)
        log.info(
            "taking over from a silent daemon: attempt %d",
            delivery.attempt,
            extra={"group": consumer.pending.group, "entry_id": delivery.entry_id},
        )
        if consumer.process.handler.is_async or delivery.fields is None:
            outcome = await consumer.process.run(delivery)
        else:
            outcome = await self._run_in_thread(delivery)
        consumer.settler.add(delivery, outcome)

    async def _run_in_thread(self, delivery: Delivery) -> Outcome:
        process, timeout = self._consumer.process, self._consumer.process.handler.timeout
        try:
            return await asyncio.wait_for(
                in_daemon_thread(process, delivery), timeout.total_seconds() if timeout else None
            )
        except TimeoutError:
            return process.timed_out(delivery)
        except asyncio.CancelledError:
            if not process.stopping:
                raise
            return RELEASE

    async def _quiet(self) -> None:
        """Waits until nothing runs in this process, at most for a lease."""
        until = time.monotonic() + self._settings.lease.total_seconds()
        while any(lanes.running() for lanes in self._gate.lanes) and time.monotonic() < until:
            await asyncio.sleep(0.01)

    async def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + self._settings.lease.total_seconds()
        await self._consumer.client.run(
            self._consumer.pending.forget_consumers(self._lease_ms * _FORGET_AFTER)
        )

    def stop(self) -> None:
        self._stopping.set()
