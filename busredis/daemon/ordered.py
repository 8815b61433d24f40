"""The consumer of an ordered handler: stands by, or owns its group and handles the entries of each key in their order."""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from busredis.client import AsyncClient
from busredis.commands import Arg, raw
from busredis.daemon.consumer import Consumer
from busredis.daemon.ownership import Ownership
from busredis.daemon.reclaimer import Reclaimer
from busredis.daemon.tenure import Tenure
from busredis.delivery.context import Context
from busredis.delivery.lanes import Gate
from busredis.delivery.model import RELEASE, Delivery, Outcome
from busredis.delivery.ordered_pending import OrderedPending, OwnershipLost, Take
from busredis.delivery.pending import Row
from busredis.delivery.process import Process
from busredis.errors import DecodeError, GroupMissing, ServerError
from busredis.ordering import ordering_key, raw_ordering_key
from busredis.settings import Settings

log = logging.getLogger("busredis.daemon")


class OrderedProcess(Process):
    """Runs deliveries of an ordered handler, while this daemon is certainly the owner."""

    ownership: Ownership

    async def run(self, delivery: Delivery) -> Outcome:
        return await super().run(delivery) if self.ownership.is_valid() else RELEASE

    def run_blocking(self, delivery: Delivery) -> Outcome:
        return super().run_blocking(delivery) if self.ownership.is_valid() else RELEASE

    def prepare(self, delivery: Delivery) -> None:
        """Decodes the event, and tells in whose order it stands; one that cannot be decoded fails when it is run."""
        ordered = self.handler.ordered
        try:
            delivery.event = self._decode(delivery)
            delivery.key = ordering_key(delivery.event, ordered)
        except DecodeError:
            delivery.key = raw_ordering_key(delivery.fields or (), ordered)

    def _context(self, delivery: Delivery) -> Context:
        context = super()._context(delivery)
        object.__setattr__(context, "fencing_token", self.ownership.token)
        return context


class OrderedConsumer(Consumer):
    """One ordered handler in one daemon."""

    pending: OrderedPending
    process: OrderedProcess

    def __init__(
        self,
        pending: OrderedPending,
        process: OrderedProcess,
        client: AsyncClient,
        gate: Gate,
        settings: Settings,
        ownership: Ownership,
    ) -> None:
        super().__init__(pending, process, client, gate, settings)
        # What comes next in a lane waits for the acknowledgement of what is before it, and is read in another way.
        self.settler.refill = None
        self.ownership = process.ownership = ownership
        self.lease_s = settings.lease.total_seconds()
        self.tenure: Tenure | None = None
        self._name, self._gate = pending.consumer, gate
        self._told = False
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._wake)

        ownership.changed = changed

    def _wake(self) -> None:
        if self.tenure is not None:
            self.tenure.wake()

    def continues(self) -> bool:
        """Whether this daemon is the owner and is to remain it."""
        return not self._stopping and self.ownership.token is not None and not self.ownership.successor

    async def run(self) -> None:
        """Stands by and owns in turns, until stopped; survives whatever the server does."""
        pause = 0.05
        while not self._stopping:
            try:
                if await self._stand_by():
                    await self._own()
                pause = 0.05
            except GroupMissing as error:
                await self.restore(error)
            except ServerError as error:
                self.tell(error)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(pause * 2, self._settings.reconnect_cap.total_seconds())

    async def _stand_by(self) -> bool:
        """Asks for the ownership, and waits a moment for it; whether it is there."""
        wanted = await self.client.run(self.ownership.take())
        if wanted.is_owner:
            return True
        if self.ends_when_empty:
            began = time.monotonic()
            self.empty_since = 0.0 if await self.client.run(self.pending.has_unread()) else began
        assert self._reader is not None
        seconds = min(self._block().total_seconds(), self.lease_s / 3, wanted.wait + 0.005)
        await self._reader.run(self.ownership.given_up(wanted, seconds))
        return False

    async def _own(self) -> None:
        token = self.ownership.token
        if token is None:
            return
        self.pending.begin(f"{self._name}.{token}", token)
        log.info("owner of the ordered handling of %s, token %d", self.pending.group, token)
        self.tenure = Tenure(self, self._gate, self._settings.prefetch)
        try:
            await self.tenure.run()
        finally:
            await self.tenure.end()
        if self._stopping:
            return  # the daemon drains, and then calls hand_over()
        # What still runs keeps its order: nobody else may own the group before it has ended, or was fenced off.
        await self.settler.flush()  # what was not started is handed back, or the next owner suspects it
        while self.settler.held or self.lanes.running():
            await self.settler.flush()
            await asyncio.sleep(0.01)
        self.tenure = None
        await self.hand_over()

    async def hand_over(self) -> None:
        """Gives the ownership up, if it is there; whoever stands by is woken."""
        flow = self.ownership.leave() if self.ownership.token is None else self.ownership.release()
        if self.ownership.token is None and not self._stopping:
            log.warning("the ordered handling of %s was taken over by another daemon", self.pending.group)
            return
        try:
            await self.client.run(flow)
        except ServerError as error:
            log.warning("the ownership of %s is left to expire: %s", self.pending.group, error)
        self.ownership.token = None

    def stop(self) -> None:
        super().stop()
        self._wake()

    async def await_entries(self, reached: dict[str, str]) -> None:
        """Waits until a stream has entries behind those, at most for `block`, or as long as the reader has patience."""
        assert self._reader is not None
        block = max(1, int(self._block().total_seconds() * 1000))
        head: Sequence[Arg] = ("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS")
        await self._reader.run(raw(*head, *reached, *reached.values()).__iter__())

    async def claim(
        self,
        row: Row,
        least_idle_ms: int,  # noqa: ARG002 - only the owner claims: it need not wait for anyone to fall silent
        count: int,
        *,
        alone: bool = False,
    ) -> Delivery | None:
        try:
            [taken] = await self.client.run(self.pending.take([Take(row, count, alone)]))
        except OwnershipLost:
            self.ownership.lose()
            return None
        if self.tenure is None:
            return None
        if taken.fields is None:
            self.tenure.not_claimed(row, taken.row)
            return None
        delivery = self.delivery(row, taken.fields, count)
        self.tenure.claimed(delivery)
        return delivery

    def delivery(self, row: Row, fields: list[bytes], count: int) -> Delivery:
        """An entry in hand, with its event and its key; one without fields was deleted, and is still whose it was."""
        gone = not fields
        delivery = Delivery(
            stream=row.stream,
            event_class=self._classes[row.stream],
            id=row.id,
            fields=None if gone else fields,
            attempt=row.count if gone else count,
            holder=row.holder if gone else self.pending.consumer,
            taken_at=time.monotonic(),
        )
        if not gone:
            self.process.prepare(delivery)
        return self._marked(delivery)

    def key_of(self, stream: str, entry_id: bytes, fields: list[bytes]) -> str:
        return self.delivery(Row(stream, entry_id, "", 0, 1), fields, 1).key

    def pause_of(self, row: Row) -> timedelta:
        """The pause after the attempts that an entry has had."""
        return self.process.handler.pause(max(1, row.count), f"{row.stream} {row.id.decode()}")

    def _settled(self, batch: Sequence[tuple[Delivery, Outcome]]) -> None:
        # If what one was to be parked behind has gone, it is looked at again.
        ended = [(delivery, outcome) for delivery, outcome in batch if not (outcome.behind and delivery.lost)]
        if ended:
            super()._settled(ended)
        if self.tenure is not None:
            for delivery, outcome in batch:
                self.tenure.settled(delivery, outcome)

    async def restore(self, error: Exception) -> None:
        await self._restore(error)

    def tell(self, error: Exception) -> None:
        """Says once that the server is waited for."""
        if not self._told:
            log.warning(
                "ordered handling waits for the server: %s", error, extra={"group": self.pending.group}
            )
        self._told = True

    def told_all_is_well(self) -> None:
        if self._told:
            log.info("ordered handling goes on", extra={"group": self.pending.group})
        self._told = False


class OrderedReclaimer(Reclaimer):
    """The sweeps of an ordered handler: what waits is taken up by the owner itself; here it learns of what it cannot know."""

    _consumer: OrderedConsumer

    async def sweep(self) -> float:
        consumer = self._consumer
        settled_at = consumer.settled_at
        found = await consumer.client.run(consumer.pending.sweep(self._lease_ms, others=False))
        self.pending_in_group, self.is_quiet = found.pending, found.is_quiet
        if found.missing:
            restored = GroupMissing(f"NOGROUP on {len(found.missing)} stream(s)")
            await consumer.restore(restored)
        tenure = consumer.tenure
        if tenure is None or tenure.intake.is_looking():
            return float("inf")
        known = tenure.queues.known
        # Retried dead letters, or what was moved by hand.
        is_news = any(
            row.holder.endswith("-0") and (row.stream, row.id) not in known for row in found.rows
        ) or (found.pending != len(known) and settled_at == consumer.settled_at)
        if is_news:
            tenure.intake.look_again()
        return float("inf")
