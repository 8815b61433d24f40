"""Renews the lease on everything this process holds, from a thread of its own.

So a handler that blocks the event loop keeps its entry, up to its timeout.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from busredis.client import Client
from busredis.daemon.consumer import Consumer
from busredis.daemon.ordered import OrderedConsumer
from busredis.daemon.ownership import renew_all
from busredis.delivery.model import Delivery
from busredis.errors import ServerError
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")


class Lease:
    """The renewing thread of one daemon."""

    def __init__(self, client: Client, consumers: Sequence[Consumer], settings: Settings) -> None:
        self._client, self._consumers = client, consumers
        self._lease = settings.lease.total_seconds()
        self._stop = threading.Event()
        self._loop_thread = threading.get_ident()
        self._told: set[bytes] = set()
        self._beat_at = time.monotonic()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="busredis lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def beat(self, failed: Callable[[], None]) -> None:
        """Runs on the loop, and so tells this thread whether the loop does; calls `failed` once for a fault of that thread."""
        told = False
        while True:
            self._beat_at = time.monotonic()
            if self._fault is not None and not told:
                told = True
                failed()
            await asyncio.sleep(self._lease / 10)

    def check(self) -> None:
        """Raises a fault of the thread, if there was one: what it renews may be lost, so the process has to end."""
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """Ends the renewal; called last, when nothing is held any more."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._client.close()

    def _run(self) -> None:
        while not self._stop.wait(self._lease / 3):
            self._guarded(self._round)

    def _round(self) -> None:
        now = time.monotonic()
        is_blocked = now - self._beat_at > self._lease / 4
        if is_blocked and self._tell_who_blocks(now):
            # No timeout could end it, and nothing that this process holds gets its turn: let others have it.
            return
        self._guarded(self._renew_owned)
        for consumer in self._consumers:
            renew = partial(self._renew, consumer, now, is_blocked=is_blocked)
            self._guarded(renew, consumer.pending.group)

    def _guarded(self, work: Callable[[], None], group: str = "") -> None:
        """Notes a fault of our own, and goes on: until the process has ended, what can be renewed is."""
        try:
            work()
        except ServerError as error:
            log.warning("the lease waits for the server: %s", error, extra={"group": group})
        except Exception as fault:
            if self._fault is None:
                log.exception("the lease cannot be renewed, this fault is raised", extra={"group": group})
                self._fault = fault

    def _renew_owned(self) -> None:
        owned = [one.ownership for one in self._consumers if isinstance(one, OrderedConsumer)]
        self._client.run(renew_all(owned))

    def _renew(self, consumer: Consumer, now: float, *, is_blocked: bool) -> None:
        if isinstance(consumer, OrderedConsumer):
            return  # its ownership is what it has
        if is_blocked:
            # While a handler blocks the loop, entries may lie unread in a socket: this process has them all the same.
            self._client.run(consumer.pending.renew_own())
            return
        held = [
            delivery
            for delivery in list(consumer.settler.held.values())
            if now - delivery.taken_at > self._lease / 6 and not delivery.lost
            if not self._is_overdue(consumer, delivery, now)
        ]
        if held:
            lost = self._client.run(consumer.pending.renew(held))
            for delivery in held:
                delivery.lost = delivery.lost or delivery.id in lost

    def _tell_who_blocks(self, now: float) -> bool:
        """Whether an async handler is beyond its timeout; says so once, with the stack that blocks."""
        for consumer in self._consumers:
            for delivery in list(consumer.settler.held.values()):
                if consumer.process.handler.is_async and self._is_overdue(consumer, delivery, now):
                    self._tell(consumer, delivery)
                    return True
        return False

    def _is_overdue(self, consumer: Consumer, delivery: Delivery, now: float) -> bool:
        timeout = consumer.process.handler.timeout
        # From its start to its end both are the same.
        runs = 0 < delivery.started_at == delivery.ended_at and not delivery.left_out
        return (
            timeout is not None
            and runs
            and now - delivery.started_at > timeout.total_seconds() + self._lease / 6
        )

    def _tell(self, consumer: Consumer, delivery: Delivery) -> None:
        if delivery.id in self._told:
            return
        self._told.add(delivery.id)
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to another stack
        stack = "".join(traceback.format_stack(frame, limit=20)) if frame else ""
        log.error(
            "handler %s blocks the event loop beyond its timeout, its lease is left to expire:\n%s",
            consumer.pending.group,
            stack,
            extra={"group": consumer.pending.group, "entry_id": delivery.entry_id},
        )
