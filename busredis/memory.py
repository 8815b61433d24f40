"""A bus within one process, for unit tests and small programs: no server, no retries, nothing kept."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from busredis.context import current_event, inherit
from busredis.delivery.context import Context
from busredis.events import DomainEvent
from busredis.router import Router
from busredis.schedule import Delay, time_of

log = logging.getLogger("busredis.memory")

Subject = type[DomainEvent] | str


@dataclass(frozen=True)
class _Subscription:
    subject: Subject
    function: Callable[..., Any]
    is_async: bool
    group: str | None = None
    takes_context: bool = False

    def wants(self, event: DomainEvent) -> bool:
        return self.subject == "*" if isinstance(self.subject, str) else isinstance(event, self.subject)


class InMemoryEventBus:
    """Runs handlers for the events that are published on it. A handler that raises is logged; the others go on.

    Sync handlers have run when publish() returns. Async ones run as tasks if an event loop runs (drain() waits for
    them), else to their end within publish().
    """

    def __init__(self, *routers: Router) -> None:
        self._subscriptions: list[_Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._scheduled: dict[str, tuple[datetime, DomainEvent]] = {}
        self._ahead = timedelta()
        for router in routers:
            self.include(router)

    def subscribe(self, subject: Subject, handler: Callable[[Any], Any]) -> None:
        """Calls `handler(event)` for events of a class, of its subclasses, or of all types ("*")."""
        self._subscriptions.append(_Subscription(subject, handler, asyncio.iscoroutinefunction(handler)))

    def subscribe_async(self, subject: Subject, handler: Callable[[Any], Awaitable[Any]]) -> None:
        """Awaits `handler(event)` for events of a class, of its subclasses, or of all types ("*")."""
        self._subscriptions.append(_Subscription(subject, handler, is_async=True))

    def unsubscribe(self, subject: Subject, handler: Callable[..., Any]) -> bool:
        """Ends a subscription; whether there was one."""
        for found in self._subscriptions:
            if found.subject == subject and found.function == handler:
                self._subscriptions.remove(found)
                return True
        return False

    def include(self, router: Router) -> None:
        """Subscribes the handlers of a router, as a Daemon would run them."""
        for handler in router:
            for subject in handler.subjects:
                self._subscriptions.append(
                    _Subscription(
                        subject, handler.function, handler.is_async, handler.name, handler.takes_context
                    )
                )

    def publish(self, event: DomainEvent) -> str:
        """Runs the handlers of `event`; returns an id that rises with each event."""
        event = inherit(event)
        self._count += 1
        entry_id = f"{int(event.occurred_at.timestamp() * 1000)}-{self._count}"
        seen: set[str] = set()
        for subscription in list(self._subscriptions):
            if not subscription.wants(event) or subscription.group in seen:
                continue
            if subscription.group is not None:
                seen.add(subscription.group)
            if subscription.is_async:
                self._start(self._run_async(subscription, event, entry_id))
            else:
                self._run(subscription, event, entry_id)
        return entry_id

    def schedule(
        self,
        event: DomainEvent,
        *,
        at: datetime | None = None,
        delay: Delay | None = None,
        key: str | None = None,
    ) -> str:
        """Keeps an event until advance() comes to its time; returns `key`, or the event's id. See Publisher.schedule."""
        due, _ = time_of(at, delay, self._now())
        event = inherit(event)
        event = event.model_copy(update={event.attribute_of("occurred_at"): due})
        schedule_id = key or str(event.event_id)
        self._scheduled.setdefault(schedule_id, (due, event))
        return schedule_id

    def cancel(self, schedule_id: str) -> bool:
        """Takes an event out of the schedule; false if it is not there."""
        return self._scheduled.pop(schedule_id, None) is not None

    def advance(self, by: Delay = 0) -> int:
        """Sets the clock of this bus ahead, in seconds or as a timedelta, and publishes what is due then, in order.

        Returns how many events that were. There is no other way in which a scheduled event is published here.
        """
        self._ahead += by if isinstance(by, timedelta) else timedelta(seconds=by)
        published = 0
        while due := [(at, name) for name, (at, _) in self._scheduled.items() if at <= self._now()]:
            _, event = self._scheduled.pop(min(due)[1])
            self.publish(event)
            published += 1
        return published

    def _now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    async def drain(self) -> None:
        """Waits until every async handler has ended, those included that were started meanwhile."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _start(self, call: Any) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(call)
            return
        # The loop keeps weak references only: without this set a task could vanish before it ends.
        task = loop.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self, subscription: _Subscription, event: DomainEvent, entry_id: str) -> None:
        token = current_event.set(event)
        try:
            subscription.function(*self._arguments(subscription, event, entry_id))
        except Exception:
            log.exception("handler %r failed on %s", subscription.function, event.event_type)
        finally:
            current_event.reset(token)

    async def _run_async(self, subscription: _Subscription, event: DomainEvent, entry_id: str) -> None:
        token = current_event.set(event)
        try:
            await subscription.function(*self._arguments(subscription, event, entry_id))
        except Exception:
            log.exception("handler %r failed on %s", subscription.function, event.event_type)
        finally:
            current_event.reset(token)

    @staticmethod
    def _arguments(subscription: _Subscription, event: DomainEvent, entry_id: str) -> tuple[Any, ...]:
        if not subscription.takes_context:
            return (event,)
        return event, Context(entry_id, f"memory:{event.event_type}", subscription.group or "", 1, 1)
