"""The one place that acknowledges. It gathers how deliveries ended and tells the server, many at a time."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.errors import ServerError

if TYPE_CHECKING:
    from busredis.client import AsyncClient

log = logging.getLogger("busredis.delivery")

#: Most acknowledgements in one script call.
_BATCH = 1_000


class Settler:
    """Settles the deliveries of one consumer. `held` has all that are not settled yet, by stream and id."""

    def __init__(
        self, pending: Pending, client: "AsyncClient", settled: Callable[[Delivery, Outcome], None]
    ) -> None:
        self.held: dict[tuple[str, bytes], Delivery] = {}
        self._pending = pending
        self._client = client
        self._settled = settled
        self._ended: deque[tuple[Delivery, Outcome]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._called = False

    def hold(self, delivery: Delivery) -> None:
        """From now on the lease on this delivery is renewed, until it is settled."""
        self.held[delivery.stream, delivery.id] = delivery

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Takes the end of a delivery, on the loop."""
        self._ended.append((delivery, outcome))
        self._wake.set()
        self._idle.clear()

    def add_from_thread(self, delivery: Delivery, outcome: Outcome) -> None:
        """Takes the end of a delivery from another thread; wakes the loop once for many."""
        self._ended.append((delivery, outcome))
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._notice)

    def _notice(self) -> None:
        self._called = False
        self._wake.set()
        self._idle.clear()

    async def run(self) -> None:
        """Settles until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ended:
                await self._settle_some()
            self._idle.set()

    async def flush(self) -> None:
        """Waits until all that has ended is settled."""
        while self._ended or not self._idle.is_set():
            self._wake.set()
            self._idle.clear()
            await self._idle.wait()

    async def _settle_some(self) -> None:
        batch = [self._ended[index] for index in range(min(len(self._ended), _BATCH))]
        done = [delivery for delivery, outcome in batch if outcome.verdict is Verdict.ACK]
        if done:
            lost = await self._insist(lambda: self._pending.acknowledge(done))
            if lost:
                for delivery in done:
                    delivery.lost = delivery.lost or delivery.id in lost
        released = [delivery for delivery, outcome in batch if outcome.verdict is Verdict.RELEASE]
        if released:
            outcome = next(outcome for _, outcome in batch if outcome.verdict is Verdict.RELEASE)
            await self._insist(lambda: self._pending.release(released, outcome))
        for delivery, outcome in batch:
            if outcome.verdict is Verdict.RETRY:
                delivery.lost = not await self._insist(lambda d=delivery, o=outcome: self._pending.wait(d, o))
            elif outcome.verdict is Verdict.DEAD_LETTER:
                delivery.lost = not await self._insist(
                    lambda d=delivery, o=outcome: self._pending.dead_letter(d, o)
                )
        for delivery, outcome in batch:
            self._ended.popleft()
            self.held.pop((delivery.stream, delivery.id), None)
            self._settled(delivery, outcome)

    async def _insist(self, flow: Callable[[], object]) -> object:
        """Runs a flow until the server answers; meanwhile the lease is renewed.

        Each flow is fenced, so that running it twice does no harm.
        """
        pause = 0.05
        while True:
            try:
                return await self._client.run(flow())  # type: ignore[arg-type]  # any flow
            except ServerError as error:
                log.warning(
                    "settling waits for the server", extra={"group": self._pending.group, "error": str(error)}
                )
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(pause * 2, 2.0)
