"""Runs entries of a daemon that fell silent: one of them may be what killed it."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from busredis.delivery.lanes import Gate, in_daemon_thread
from busredis.delivery.model import RELEASE, Delivery, Outcome
from busredis.delivery.pending import Row

if TYPE_CHECKING:
    from busredis.daemon.consumer import Consumer

log = logging.getLogger("busredis.daemon")


class Suspects:
    """Runs one suspect at a time in a process, so that no innocent entry dies with it again and again.

    At its last attempt nothing at all runs beside it, and only an entry that did not finish alone is found guilty: one that
    was read and never started, or that was hit by another, has its attempt first.
    """

    def __init__(self, consumer: "Consumer", gate: Gate, least_idle_ms: int, longest_quiet: float) -> None:
        self._consumer, self._gate = consumer, gate
        self._unanswered = consumer.unanswered
        self._unanswered.clear()
        self._least_idle_ms, self._longest_quiet = least_idle_ms, longest_quiet

    async def run(self, row: Row) -> None:
        """Claims one, runs it and settles it; nothing if another daemon was faster."""
        consumer, last = self._consumer, self._consumer.process.handler.max_attempts
        async with self._gate.suspects:
            # A claim of its own that was not answered may have been made: then nothing has run since.
            is_own = row.holder == consumer.pending.consumer and (row.stream, row.id) in self._unanswered
            if self._unanswered[row.stream, row.id] if is_own else await self._is_guilty(row, last):
                await self._give_up(row)
                return
            count = row.count if is_own or row.count >= last else row.count + 1
            is_last = alone = count >= last
            if is_last:
                self._gate.close()
                alone = await self._quiet()
            try:
                delivery = await self._claim(row, count, alone=alone)
                if delivery is not None:
                    await self._run(delivery)
                    await consumer.settler.flush()
            finally:
                if is_last:
                    self._gate.open()

    async def _is_guilty(self, row: Row, last: int) -> bool:
        pending = self._consumer.pending
        return row.count >= last and await self._consumer.client.run(pending.was_alone(row))

    async def _claim(
        self, row: Row, count: int, *, alone: bool = False, is_guilty: bool = False
    ) -> Delivery | None:
        self._unanswered[row.stream, row.id] = is_guilty
        delivery = await self._consumer.claim(row, self._least_idle_ms, count, alone=alone)
        if delivery is not None:
            del self._unanswered[row.stream, row.id]
        return delivery

    async def _give_up(self, row: Row) -> None:
        consumer = self._consumer
        delivery = await self._claim(row, row.count, is_guilty=True)
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

    async def _quiet(self) -> bool:
        """Waits until nothing runs in this process, at most for a lease; false if something still does."""
        until = time.monotonic() + self._longest_quiet
        while any(lanes.running() for lanes in self._gate.lanes):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.01)
        return True
