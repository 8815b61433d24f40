"""One attempt: decode, handle, judge. Decides how a delivery ends; acting on it is the settler's."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Coroutine, Generator
from types import CoroutineType, coroutine

from busredis.codec import Codec
from busredis.context import current_event
from busredis.delivery.context import Context, Tools
from busredis.delivery.model import (
    ACK,
    LEFT_OUT,
    MAX_TRACEBACK,
    RELEASE,
    Delivery,
    HandlerTimeout,
    Outcome,
    Verdict,
    bounded,
    judge,
)
from busredis.errors import DecodeError, Retry, ServerError, Signal
from busredis.events import DomainEvent
from busredis.router import Handler


class Process:
    """Runs the deliveries of one handler; `stopping` tells its own cancellation from one that a handler raised."""

    def __init__(self, handler: Handler, codec: Codec, tools: Tools | None) -> None:
        self.handler = handler
        self.stopping = False
        self._codec = codec
        self._tools = tools
        self._timeout = handler.timeout.total_seconds() if handler.timeout else None
        self._function, self._takes_context = handler.function, handler.takes_context

    async def run(self, delivery: Delivery) -> Outcome:
        """One attempt of an async handler, on the loop."""
        delivery.started_at = delivery.ended_at = time.monotonic()
        if delivery.left_out:
            return LEFT_OUT
        token = None
        try:
            event = self._event(delivery)
            token = current_event.set(event)
            arguments = (event, self._context(delivery)) if self._takes_context else (event,)
            call = self._function(*arguments)
            if self._timeout is None:
                await call
            elif (waits := _start(call)) is not None:
                await self._within(self._timeout, waits)
        except BaseException as error:  # noqa: BLE001 - the user's handler: whatever it raises is its failure
            if isinstance(error, asyncio.CancelledError) and self.stopping:
                return RELEASE
            return self.judge(error, delivery)
        finally:
            delivery.ended_at = time.monotonic()
            if token is not None:
                current_event.reset(token)
        return _succeeded(arguments) if self._takes_context else ACK

    async def _within(self, seconds: float, call: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(seconds) as limit:
                await call
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimeout(f"the handler took longer than {self.handler.timeout}") from error
            raise

    def run_blocking(self, delivery: Delivery) -> Outcome:
        """One attempt of a sync handler, in a thread; its timeout is watched by who waits for the thread."""
        delivery.started_at = delivery.ended_at = time.monotonic()
        if delivery.left_out:
            return LEFT_OUT
        token = None
        try:
            event = self._event(delivery)
            token = current_event.set(event)
            arguments = (event, self._context(delivery)) if self._takes_context else (event,)
            self._function(*arguments)
        except BaseException as error:  # noqa: BLE001 - the user's handler: whatever it raises is its failure
            return self.judge(error, delivery)
        finally:
            delivery.ended_at = time.monotonic()
            if token is not None:
                current_event.reset(token)
        return _succeeded(arguments) if self._takes_context else ACK

    def timed_out(self, delivery: Delivery) -> Outcome:
        """The end of an attempt whose thread did not return in time."""
        return judge(
            HandlerTimeout(
                f"the handler took longer than {self.handler.timeout} and could not be interrupted"
            ),
            delivery.attempt,
            self.handler.max_attempts,
        )

    def crashed(self, delivery: Delivery) -> Outcome:
        """The end of an entry that was delivered as often as allowed and never finished."""
        found = f"delivered {delivery.attempt} times and never finished: its handler or its process died each time"
        return Outcome(Verdict.DEAD_LETTER, "crashed", found)

    def _event(self, delivery: Delivery) -> DomainEvent:
        try:
            return self._decode(delivery)
        except ServerError as error:
            # Who keeps the keys of personal data gives no answer: that is no fault of the event, nor of its handler.
            raise Retry(f"the keys of its personal data cannot be had: {error}", counts=False) from error

    def _decode(self, delivery: Delivery) -> DomainEvent:
        if delivery.event is not None:
            return delivery.event
        if not delivery.fields:
            raise DecodeError(
                "trimmed", f"entry {delivery.entry_id} was deleted from its stream while it was pending"
            )
        return self._codec.decode(delivery.event_class, delivery.entry_id, delivery.fields)

    def _context(self, delivery: Delivery) -> Context:
        handler = self.handler
        return Context(
            delivery.id.decode(),
            delivery.stream,
            handler.name,
            delivery.attempt,
            handler.max_attempts,
            self._tools,
            replaying=delivery.replaying,
            may_publish=handler.side_effects or not delivery.replaying,
        )

    def judge(self, error: BaseException, delivery: Delivery) -> Outcome:
        """The end of an attempt that failed with `error`."""
        outcome = judge(error, delivery.attempt, self.handler.max_attempts)
        if not isinstance(error, Signal | DecodeError) and error.__traceback__ is not None:
            outcome.traceback = _traceback(error)
        return outcome


def _start(call: Awaitable[object]) -> Awaitable[object] | None:
    """Runs an async handler up to where it waits for something, and returns the rest; None if it has ended.

    A timer costs more than a whole delivery, and a handler that never waits could not be ended by one.
    """
    if not isinstance(call, CoroutineType):
        return call  # of a function that only says it is async
    try:
        awaited = call.send(None)
    except StopIteration:
        return None
    return _rest(call, awaited)


@coroutine
def _rest(call: Coroutine[object, object, object], awaited: object) -> Generator[object, object, None]:
    try:
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                call.close()
                raise
            except BaseException as error:  # noqa: BLE001 - passed on, as `await` does
                awaited = call.throw(error)
            else:
                awaited = call.send(sent)
    except StopIteration:
        return


def _succeeded(arguments: tuple[DomainEvent] | tuple[DomainEvent, Context]) -> Outcome:
    gathered = arguments[1].gathered if len(arguments) == 2 else None
    effects = gathered.take() if gathered is not None else ()
    return Outcome(Verdict.ACK, effects=effects) if effects else ACK


def _traceback(error: BaseException) -> str:
    try:
        return bounded("".join(traceback.format_exception(error, limit=-30)), MAX_TRACEBACK)
    except Exception:  # noqa: BLE001 - the user's __str__ again
        return ""
