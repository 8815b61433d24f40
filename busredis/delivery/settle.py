"""The one place that acknowledges. It gathers how deliveries ended and tells the server, many at a time."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from busredis.commands import Flow
from busredis.delivery.effects import portions
from busredis.delivery.model import ACK, Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.errors import CommandRefused, ConnectionLost, EffectRefused, ServerError, ServerUnavailable

if TYPE_CHECKING:
    from busredis.client import AsyncClient

log = logging.getLogger("busredis.delivery")

#: Most acknowledgements in one script call.
_BATCH = 1_000
#: How long acknowledgements wait for more of them while more is run.
_GATHER_S = 0.004
#: When a dead letter that could not be written is tried again.
_DEAD_LETTER_LATER = timedelta(seconds=30)

Result = TypeVar("Result")
Ended = tuple[Delivery, Outcome]


class Refill(Protocol):
    """Who wants new entries when old ones are acknowledged."""

    def wanted(self, settled: int) -> int:
        """How many a stream, once so many are settled; 0 if it does not pay or somebody else reads."""
        ...

    def arrived(self, reply: list[Any] | ServerError, wanted: int) -> None:
        """Takes what was read, or why it was not."""
        ...

    def enough(self) -> int:
        """How many have to end before a round trip is made for them, within a few turns of the loop."""
        ...


class Settler:
    """Settles the deliveries of one consumer. `held` has all that are not settled yet, by stream and id."""

    def __init__(
        self,
        pending: Pending,
        client: "AsyncClient",
        settled: Callable[[Sequence[Ended]], None],
        judge: Callable[[BaseException, Delivery], Outcome],
    ) -> None:
        self.held: dict[tuple[str, bytes], Delivery] = {}
        self._pending = pending
        self._client = client
        self._settled = settled
        self._judge = judge
        self._calls = 0
        self._ended: deque[Ended] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._called = False
        self._knows_script = False
        self.refill: Refill | None = None

    def hold(self, delivery: Delivery) -> None:
        """From now on the lease on this delivery is renewed, until it is settled."""
        self.held[delivery.stream, delivery.id] = delivery

    def hold_all(self, deliveries: Sequence[Delivery]) -> None:
        self.held.update([((delivery.stream, delivery.id), delivery) for delivery in deliveries])

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        """Takes the end of a delivery, on the loop."""
        self._ended.append((delivery, outcome))
        if not self._wake.is_set():
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
                await self._gather()
                await self._settle_some()
            self._idle.set()

    async def _gather(self) -> None:
        """Lets acknowledgements wait for more of them, as long as more is run and not for long."""
        until = time.monotonic() + _GATHER_S
        while self.refill and len(self._ended) < self.refill.enough() and time.monotonic() < until:
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Waits until all that has ended is settled."""
        while self._ended or not self._idle.is_set():
            self._wake.set()
            self._idle.clear()
            await self._idle.wait()

    async def _settle_some(self) -> None:
        batch = [self._ended.popleft() for _ in range(min(len(self._ended), _BATCH))]
        if all(outcome is ACK for _, outcome in batch):
            await self._settle_plain(batch)
        else:
            await self._settle_mixed(batch)

    async def _settle_plain(self, batch: list[Ended]) -> None:
        done = [delivery for delivery, _ in batch]
        wanted = self.refill.wanted(len(done)) if self.refill and self._knows_script else 0
        others, found = await self._acknowledge(done, wanted)
        held = self.held
        for delivery in done:
            held.pop((delivery.stream, delivery.id), None)
            delivery.lost = delivery.id in others if others else False
        if wanted:
            assert self.refill
            self.refill.arrived(found, wanted)
        self._settled(batch)

    async def _acknowledge(
        self, done: Sequence[Delivery], wanted: int
    ) -> tuple[set[bytes], list[Any] | ServerError]:
        """Acknowledges, and reads on in the same round trip."""
        failure: ServerError = ConnectionLost("nothing was asked for")
        if wanted:
            try:
                return await self._client.run(self._pending.acknowledge_and_read(done, wanted))
            except ServerError as error:
                failure = error
        others = await self._insist(partial(self._pending.acknowledge, done))
        # A read before the script is known would come before its acknowledgements, and exceed the prefetch.
        self._knows_script = True
        return others, failure

    async def _settle_mixed(self, batch: list[Ended]) -> None:
        lost: set[Delivery] = set()
        if any(outcome.effects for _, outcome in batch):
            batch = await self._with_effects(batch, lost)
        done = [d for d, outcome in batch if outcome.verdict is Verdict.ACK and not outcome.effects]
        if done:
            others = await self._insist(partial(self._pending.acknowledge, done))
            lost.update(delivery for delivery in done if delivery.id in others)
        released = [delivery for delivery, outcome in batch if outcome.verdict is Verdict.RELEASE]
        if released:
            outcome = next(outcome for _, outcome in batch if outcome.verdict is Verdict.RELEASE)
            await self._insist(partial(self._pending.release, released, outcome))
        for delivery, outcome in batch:
            if outcome.verdict is Verdict.RETRY:
                is_held = await self._insist(partial(self._pending.wait, delivery, outcome))
            elif outcome.verdict is Verdict.DEAD_LETTER:
                is_held = await self._give_up(delivery, outcome)
            else:
                continue
            if not is_held:
                lost.add(delivery)
        for delivery, outcome in batch:
            self.held.pop((delivery.stream, delivery.id), None)
            if outcome.verdict is not Verdict.RELEASE:
                # Not as a renewal says that ran meanwhile: it takes what was just settled for lost.
                delivery.lost = delivery in lost
        self._settled(batch)

    async def _with_effects(self, batch: list[Ended], lost: set[Delivery]) -> list[Ended]:
        """Applies effects and acknowledges; the batch, in which what the server refuses has failed."""
        failed: dict[Delivery, Outcome] = {}
        for portion in portions(ended for ended in batch if ended[1].effects):
            for (delivery, _), line in zip(portion, await self._apply(portion), strict=True):
                what, _, why = line.partition(" ")
                if what == "lost":
                    lost.add(delivery)
                elif what == "refused":
                    failed[delivery] = self._judge(EffectRefused(why), delivery)
                elif what == "torn":
                    extra = {"group": self._pending.group, "entry_id": delivery.entry_id}
                    log.error("effects were applied in part, and will not be again: %s", why, extra=extra)
        return [(delivery, failed.get(delivery, outcome)) for delivery, outcome in batch]

    async def _apply(self, portion: list[Ended]) -> list[str]:
        self._calls += 1
        try:
            return await self._insist(partial(self._pending.apply, self._calls, portion), (CommandRefused,))
        except CommandRefused as error:
            if len(portion) == 1:
                return [f"refused {error}"]
        # Nothing was done. One at a time, so that only whose effects are refused has failed.
        return [line for single in portion for line in await self._apply([single])]

    async def _give_up(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Moves an entry to the dead letters; if the server cannot take it, it waits, and the others go on."""
        refusals = (CommandRefused, ServerUnavailable)
        try:
            return await self._insist(partial(self._pending.dead_letter, delivery, outcome), refusals)
        except refusals as error:
            log.exception("a dead letter of %s cannot be written, its entry waits", self._pending.group)
            later = Outcome(
                Verdict.RETRY, error=f"no dead letter: {error}", after=_DEAD_LETTER_LATER, counts=False
            )
            outcome.verdict = Verdict.RETRY  # that is what became of it, for the log and the statistics
            return await self._insist(partial(self._pending.wait, delivery, later))

    async def _insist(
        self, flow: Callable[[], Flow[Result]], refusals: tuple[type[ServerError], ...] = ()
    ) -> Result:
        """Runs a flow until the server answers, but for `refusals`; meanwhile the lease is renewed.

        Each flow is fenced, so that running it twice does no harm.
        """
        pause = 0.05
        while True:
            try:
                return await self._client.run(flow())
            except refusals:
                raise
            except ServerError as error:
                log.warning("settling of %s waits for the server: %s", self._pending.group, error)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(pause * 2, 2.0)
