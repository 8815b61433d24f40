"""What is true while an event is handled: what is published then is caused by that event."""

from contextvars import ContextVar
from typing import TypeVar

from busredis.events import DomainEvent

Event = TypeVar("Event", bound=DomainEvent)

#: The event that is being handled here, if any. Follows `await`, and threads started by asyncio.to_thread.
current_event: ContextVar[DomainEvent | None] = ContextVar("busredis_current_event", default=None)
#: The W3C traceparent of what is published here, outside of handlers (https://www.w3.org/TR/trace-context/).
current_traceparent: ContextVar[str | None] = ContextVar("busredis_current_traceparent", default=None)


def is_inheriting() -> bool:
    """Whether what is published here inherits anything: false outside of handlers and of traces."""
    return current_event.get() is not None or current_traceparent.get() is not None


def inherit(event: Event) -> Event:
    """`event` with what it inherits from the event that is being handled; what it already says stays.

    correlation_id: that event's, or its id if it has none. causation_id: its id. traceparent: its traceparent.
    """
    if not isinstance(event, DomainEvent):
        return event  # the codec says what is wrong with it
    cause = current_event.get()
    trace = current_traceparent.get() if cause is None else cause.metadata.get("traceparent")
    if cause is None and trace is None:
        return event
    inherited = {"traceparent": trace}
    if cause is not None:
        known = cause.metadata
        inherited["correlation_id"] = known["correlation_id"] or str(cause.event_id)
        inherited["causation_id"] = str(cause.event_id)
    own = event.metadata
    update = {
        event.attribute_of(name): value for name, value in inherited.items() if value and not own.get(name)
    }
    return event.model_copy(update=update) if update else event
