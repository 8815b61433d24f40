"""What the owner of an ordered handler does while it is the owner: look, read, start each key's next entry."""

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from busredis.daemon.hand import Hand
from busredis.daemon.intake import Intake
from busredis.daemon.suspects import Suspects
from busredis.delivery.lanes import Gate
from busredis.delivery.model import RELEASE, Delivery, Outcome, Verdict
from busredis.delivery.ordered_lanes import Lane, Queues, Ref
from busredis.delivery.ordered_pending import OwnershipLost, Parked
from busredis.delivery.pending import Row
from busredis.delivery.waiting import waiting_name
from busredis.errors import GroupMissing, ServerError
from busredis.keys import WAITING

if TYPE_CHECKING:
    from busredis.daemon.ordered import OrderedConsumer

log = logging.getLogger("busredis.daemon")

#: Longest rest, in seconds: whatever there is to do wakes it.
_REST = 10.0
#: Lanes started in one go.
_STARTS = 256


class Tenure:
    """From when a daemon becomes the owner of a group until it is not any more.

    An entry is started only when no entry of its key below it is pending or a dead letter. That this is known: entries
    are read in total order, and only when all that is pending has been looked at, after every doubt anew.
    """

    def __init__(self, consumer: "OrderedConsumer", gate: Gate, prefetch: int) -> None:
        self.queues = Queues()
        self._consumer, self._pending = consumer, consumer.pending
        self.intake = Intake(consumer, self.queues, prefetch, self.wake)
        self.hand = Hand(consumer, self.queues, self.intake, prefetch)
        self._retried: list[tuple[Lane, Parked]] = []
        self._suspects = Suspects(consumer, gate, 0, consumer.lease_s)
        self._suspected: asyncio.Queue[Ref] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._ending = False
        self._suspects_task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until the ownership is lost, or to be handed over, or the daemon stops."""
        self._suspects_task = asyncio.create_task(self._run_suspects())
        pause = 0.05
        while self._consumer.continues():
            self._wake.clear()
            try:
                is_busy = await self._step()
            except OwnershipLost:
                self._consumer.ownership.lose()
            except GroupMissing as error:
                await self._consumer.restore(error)
                self.intake.look_again()
            except ServerError as error:
                self._consumer.tell(error)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(pause * 2, 2.0)
                self.intake.look_again()
            else:
                pause = 0.05
                if not is_busy:
                    await self._rest()
                else:
                    await asyncio.sleep(0)

    async def end(self) -> None:
        """Starts nothing more, hands back what was not started; what runs may finish."""
        self._ending = True
        for ref in list(self.queues.known.values()):
            if ref.delivery is not None and ref.runs:
                ref.delivery.lost = True  # a lane that has not started it hands it back
            elif ref.delivery is not None:
                self._consumer.settler.add(ref.delivery, RELEASE)
        if self._suspected.empty():
            self._suspected.put_nowait(Ref("", b"0-0", Lane("", asks=False), "", 0))  # wakes the task
        watching = list(self.intake.tasks)
        for task in watching:
            task.cancel()
        tasks = [*watching, *([self._suspects_task] if self._suspects_task else [])]
        try:
            await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))])
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _rest(self) -> None:
        due = self.queues.next_due()
        left = _REST if due is None else due - time.monotonic()
        if not self._consumer.ownership.is_valid():
            left = 0.05
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_REST, max(0.001, left))):
                await self._wake.wait()

    async def _step(self) -> bool:
        """One round; whether there was something to do."""
        if not self._consumer.ownership.is_valid():
            return False
        await self.hand.defer()
        await self._unpark()
        is_busy = await self._start()
        return await self.intake.step() or is_busy

    # What is started.

    async def _start(self) -> bool:
        """Starts the first entry of each lane that can go on, as far as there is room; whether there was any."""
        lanes, room = {}, self.hand.room()
        for lane in self.queues.ready(_STARTS):
            if lane.refs[0].delivery is None:
                if room <= 0:
                    self.queues.wake(lane)  # later: there is something in hand that goes on, and makes room
                    continue
                room -= 1
            lane.busy = True
            lanes[lane] = lane.refs[0]
        try:
            parking = await self.hand.ask([lane for lane in lanes if lane.asks])
            going_on = [lane for lane in lanes if parking.get(lane, ...) is not None]
            await self.hand.take(going_on)
        except BaseException:
            parking, going_on = {}, []
            raise
        finally:
            for lane, head in lanes.items():
                is_first = bool(lane.refs) and lane.refs[0] is head
                if lane not in going_on or not is_first or not self._begin(lane, parking.get(lane)):
                    lane.busy = False
                    if lane in going_on:
                        self.queues.wake(lane)
        return bool(lanes)

    def _begin(self, lane: Lane, parked: Parked | None) -> bool:
        """Starts the first entry of a lane, or parks it; false if it is not there to be."""
        head, consumer = lane.refs[0], self._consumer
        if head.delivery is None:
            if head.suspect and parked is None:
                head.runs = True
                self._suspected.put_nowait(head)
                return True
            head.suspect = False  # it is taken to be parked, not to be run
            return False
        head.runs = True
        consumer.settler.hold(head.delivery)
        if parked is None:
            consumer.lanes.put([head.delivery])
            return True
        why = f"parked behind the dead letter {parked.letter} of entry {parked.position[0]}-{parked.position[1]}"
        consumer.settler.add(head.delivery, Outcome(Verdict.DEAD_LETTER, "behind", why, behind=parked.member))
        return True

    async def _run_suspects(self) -> None:
        while not self._ending:
            ref = await self._suspected.get()
            if self._ending:
                return
            try:
                await self._suspects.run(ref.row())
            except (ServerError, OwnershipLost) as error:
                log.debug("a suspect waits: %s", error)
            await self._consumer.settler.flush()
            if ref.runs:  # nothing was settled
                self.queues.drop(ref)
                ref.runs, ref.lane.busy = False, False
                self.queues.wake(ref.lane)
                self.wake()

    # What has ended.

    def claimed(self, delivery: Delivery) -> None:
        """A suspect is in hand."""
        ref = self.queues.known.get((delivery.stream, delivery.id))
        if ref is not None:
            self.queues.hold(ref, delivery)

    def not_claimed(self, row: Row, found: Row | None) -> None:
        """A suspect is not as it was seen."""
        ref = self.queues.known.get((row.stream, row.id))
        if ref is not None and found is not None:
            self.intake.update(ref, found)
        elif ref is not None:
            self.intake.gone(ref)

    def settled(self, delivery: Delivery, outcome: Outcome) -> None:
        """Lets the next entry of its key have its turn."""
        ref = self.queues.known.get((delivery.stream, delivery.id))
        if ref is None or ref.delivery is not delivery:
            if outcome.verdict is Verdict.DEAD_LETTER:
                self.intake.parked(delivery.key)
            return
        lane = ref.lane
        self.intake.settled(ref)
        self.queues.drop(ref)
        lane.busy, ref.runs, ref.suspect = False, False, False
        if outcome.verdict is Verdict.RELEASE:
            ref.holder, ref.count, ref.due = f"{WAITING}-0", delivery.attempt - 1, 0.0
        elif delivery.lost:
            ref.due = 0.0  # to be taken again, which tells what has become of it
        elif outcome.verdict is Verdict.RETRY:
            self._waits(ref, outcome)
        else:
            self.queues.remove(ref)
            self._leaves(ref, outcome)
        if not self._ending:
            self.queues.wake(lane)
            self.wake()

    def _waits(self, ref: Ref, outcome: Outcome) -> None:
        ref.holder = waiting_name(outcome)
        if not outcome.counts:
            ref.count -= 1
        ref.due = self.intake.due(ref.holder, ref.row())
        self.intake.crowded.add(ref.lane)

    def _leaves(self, ref: Ref, outcome: Outcome) -> None:
        lane = ref.lane
        if outcome.verdict is Verdict.DEAD_LETTER:
            self.intake.parked(lane.key)
        elif ref.parked is not None:
            lane.busy = True
            self._retried.append((lane, ref.parked))

    async def _unpark(self) -> None:
        while self._retried:
            lane, parked = self._retried[0]
            await self._consumer.client.run(self._pending.unpark(parked))
            self._retried.pop(0)
            lane.busy = False
            self.queues.wake(lane)
