"""Handlers and what they are to be run for."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from busredis.backoff import Backoff, BackoffLike, Pause, pause_function
from busredis.errors import DuplicateHandler, RegistrationError, SettingsError
from busredis.events import DomainEvent, registry
from busredis.keys import check_name, just_before, parse_id
from busredis.ordering import check_field

Function = TypeVar("Function", bound=Callable[..., Any])
#: Where a new group starts: "beginning", "now", a time, or an entry id; the entry at the time or id is included.
Start = str | datetime
Subject = type[DomainEvent] | str
_ID = re.compile(r"[0-9]{1,20}(-[0-9]{1,20})?")


@dataclass(frozen=True)
class Handler:
    """A function, the events it is run for, and how. Its name is its consumer group."""

    name: str
    function: Callable[..., Any]
    subjects: tuple[Subject, ...]
    max_attempts: int
    pause: Pause
    timeout: timedelta | None
    concurrency: int
    start: Start
    is_async: bool
    takes_context: bool
    #: False; True: in order by aggregate; or the payload field in whose order.
    ordered: bool | str = False
    side_effects: bool = False

    def event_classes(self) -> list[type[DomainEvent]]:
        """The classes it is run for, by event type. Raises RegistrationError if there is none."""
        found = {
            cls.type_name: cls for cls in registry if any(_matches(subject, cls) for subject in self.subjects)
        }
        if not found:
            raise RegistrationError(
                f"handler {self.name!r} is run for no event: no class is registered that it names"
            )
        classes = [found[name] for name in sorted(found)]
        if isinstance(self.ordered, str):
            check_field(self.name, self.ordered, classes)
        return classes

    def start_id(self) -> str:
        """The id after which a new group reads."""
        if isinstance(self.start, datetime):
            return just_before(f"{int(self.start.timestamp() * 1000)}-0")
        return {"beginning": "0-0", "now": "$"}.get(self.start) or just_before(self.start)


class Router:
    """Collects handlers: `@router.on(Paid, name="ledger")`. Daemon and InMemoryEventBus run them alike."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def on(  # noqa: PLR0913 - each is an option of a handler, by name
        self,
        *subjects: Subject,
        name: str | None = None,
        max_attempts: int = 5,
        backoff: BackoffLike = Backoff(),  # noqa: B008 - frozen
        timeout: timedelta | float | None = timedelta(minutes=5),
        concurrency: int = 1,
        start: Start = "beginning",
        ordered: bool | str = False,
        side_effects: bool = False,
    ) -> Callable[[Function], Function]:
        """Registers a function `(event)` or `(event, ctx)`, sync or async, for event classes, base classes or "*".

        The events of a base class are those of its subclasses. The function is run at least once for each event, may
        be run again, in order per stream while `concurrency` is 1 and nothing fails: it must be idempotent. `name`
        (default: the function's) is the consumer group; keep it, or the handler starts anew. `start` counts only when the group is
        created. What it raises is tried again after `backoff`, up to `max_attempts` in all, then the event is a dead
        letter; it steers with Retry, Reject and Skip. `timeout` (seconds or timedelta) counts as a failure.
        `side_effects`: it does what must not be done twice (mails, payments, events of its own), so that a replay leaves it out.

        With `ordered` the events of one aggregate (True), or with one value of a payload field (its name), are handled
        one after another in their total order over all the types, by one daemon at a time; `concurrency` says how many
        keys at once. An event that fails holds back its own key alone; behind a dead letter its key is parked.
        """

        def register(function: Function) -> Function:
            group = name or re.sub(r"_", "-", getattr(function, "__name__", "handler"))
            options = _Options(max_attempts, backoff, timeout, concurrency, start, side_effects, ordered)
            self._add(_handler(group, function, subjects, options))
            return function

        return register

    def include(self, other: "Router") -> None:
        """Takes over the handlers of `other`."""
        for handler in other:
            self._add(handler)

    def with_concurrency(self, concurrency: int) -> "Router":
        """The same handlers, each with this concurrency."""
        changed = Router()
        for handler in self:
            changed._add(replace(handler, concurrency=concurrency))
        return changed

    def _add(self, handler: Handler) -> None:
        known = self._handlers.get(handler.name)
        if known is not None and known is not handler:
            raise DuplicateHandler(handler.name)
        self._handlers[handler.name] = handler

    def __iter__(self) -> Iterator[Handler]:
        return iter(list(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)


@dataclass(frozen=True)
class _Options:
    max_attempts: int
    backoff: BackoffLike
    timeout: timedelta | float | None
    concurrency: int
    start: Start
    side_effects: bool
    ordered: bool | str


def _handler(
    name: str, function: Callable[..., Any], subjects: Sequence[Subject], options: _Options
) -> Handler:
    if not isinstance(name, str):
        raise RegistrationError(f"handler {name!r}: that is not a name, but {type(name).__name__}")
    try:
        check_name("group", name)
    except SettingsError as error:
        raise RegistrationError(str(error)) from None
    if not callable(function):
        raise RegistrationError(f"handler {name!r} is no function but {type(function).__name__}")
    _check_subjects(name, subjects)
    for option in ("max_attempts", "concurrency"):
        value = getattr(options, option)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000:
            raise RegistrationError(
                f"handler {name!r}: {option} is a whole number from 1 to 10,000, not {value!r}"
            )
    timeout = _timeout(name, options.timeout)
    _check_start(name, options.start)
    if not isinstance(options.ordered, bool | str) or options.ordered == "":
        raise RegistrationError(
            f"handler {name!r}: ordered is True (by aggregate) or the name of a payload field, not {options.ordered!r}"
        )
    is_async = inspect.iscoroutinefunction(function)
    return Handler(
        name=name,
        function=function,
        subjects=tuple(subjects),
        max_attempts=options.max_attempts,
        pause=pause_function(options.backoff),
        timeout=timeout,
        concurrency=options.concurrency,
        start=options.start,
        is_async=is_async,
        takes_context=_takes_context(name, function),
        ordered=options.ordered,
        side_effects=options.side_effects,
    )


def _timeout(name: str, given: timedelta | float | None) -> timedelta | None:
    if given is None:
        return None
    try:
        timeout = given if isinstance(given, timedelta) else timedelta(seconds=given)
    except (TypeError, ValueError, OverflowError):
        raise RegistrationError(
            f"handler {name!r}: timeout is seconds or a timedelta, not {given!r}"
        ) from None
    if timeout <= timedelta(0):
        raise RegistrationError(
            f"handler {name!r}: timeout is {timeout}; it must be longer than 0 s, or None"
        )
    return timeout


def _check_subjects(name: str, subjects: Sequence[Subject]) -> None:
    if not subjects:
        raise RegistrationError(f"handler {name!r} names no event: @router.on(EventClass), or '*' for all")
    for subject in subjects:
        if subject == "*" or (isinstance(subject, type) and issubclass(subject, DomainEvent)):
            continue
        raise RegistrationError(
            f"handler {name!r}: {subject!r} is no event class; name DomainEvent classes or '*'"
        )


def _check_start(name: str, start: Start) -> None:
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise RegistrationError(f"handler {name!r}: the time to start at has no time zone")
        if start.timestamp() < 0:
            raise RegistrationError(f"handler {name!r}: start is before 1970, where no entry can be")
        return
    if start in ("beginning", "now"):
        return
    if not isinstance(start, str) or not _ID.fullmatch(start) or max(parse_id(start)) >= 2**64:
        raise RegistrationError(
            f"handler {name!r}: start is 'beginning', 'now', a datetime or an entry id, not {start!r}"
        )


def _takes_context(name: str, function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    needed_by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > 2 or needed_by_name or (not positional and not variadic):
        raise RegistrationError(
            f"handler {name!r} is called with (event) or (event, ctx), its signature is {inspect.signature(function)}"
        )
    return len(required) == 2 or (len(positional) >= 2 and positional[1].name in ("ctx", "context"))


def _matches(subject: Subject, cls: type[DomainEvent]) -> bool:
    return subject == "*" if isinstance(subject, str) else issubclass(cls, subject)
