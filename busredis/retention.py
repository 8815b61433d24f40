"""How long entries are kept, by event type, and their removal: never of what a group still needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from busredis.commands import Flow, raw, script
from busredis.errors import SettingsError
from busredis.keys import Keys, parse_id
from busredis.settings import read_duration

#: Most entries, and about the most bytes, that one script call removes: while it runs, the server does nothing else.
_PAGE = 1_000
_PAGE_BYTES = 4 * 1_048_576
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may go: entries below `first_kept` ("+": all), beyond the newest `keep`.

    `spare_aggregates`: not those that the history of an aggregate may refer to. `once_read`: only what a group has read.
    """

    first_kept: str = "+"
    keep: int = 0
    spare_aggregates: bool = True
    once_read: bool = False


@dataclass(frozen=True, slots=True)
class Trimmed:
    """How many entries were removed, and why the oldest stays although it may go.

    `pinned_by` is `group <name>`, `aggregates`, `nobody` (no group has read the stream yet), or "" if nothing is in the way.
    """

    removed: int
    pinned_by: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the entries of an event type are kept: with no limit, for good.

    One of `max_age` (by entry id), `max_length` (the newest so many, in each partition) and `acked` (until every group has
    acknowledged; while no group has read the type, all stays). Whatever it says, what a group has not acknowledged stays, and so do
    events that histories of aggregates refer to, and what is behind them, unless `histories` is set.
    """

    max_age: timedelta | None = None
    max_length: int | None = None
    acked: bool = False
    histories: bool = False

    def __post_init__(self) -> None:
        given = [self.max_age is not None, self.max_length is not None, self.acked]
        if sum(given) > 1:
            raise SettingsError("a retention has one of max_age, max_length and acked")
        if self.histories and not any(given):
            raise SettingsError("histories without a limit: what is kept for good is never trimmed")
        if self.max_age is not None and self.max_age < _MILLISECOND:
            raise SettingsError(f"max_age must be at least 1 ms, it is {self.max_age}")
        if self.max_length is not None and self.max_length < 0:
            raise SettingsError(f"max_length must not be negative, it is {self.max_length}")

    @classmethod
    def parse(cls, text: str) -> "Retention":
        """What str() gave. Raises SettingsError."""
        words = text.split()
        histories = words[-1:] == ["histories"]
        match words[:-1] if histories else words:
            case ["keep"] if not histories:
                return cls()
            case ["max-age", age] if (found := read_duration(age)) is not None:
                return cls(max_age=found, histories=histories)
            case ["max-length", length] if length.isdecimal():
                return cls(max_length=int(length), histories=histories)
            case ["acked"]:
                return cls(acked=True, histories=histories)
        raise SettingsError(
            f"{text[:80]!r} is no retention: keep, max-age 30d, max-length 1000 or acked, and histories"
        )

    def __str__(self) -> str:
        """`keep`, `max-age 3600s` (or ms), `max-length 1000` or `acked`; then `histories` if it is set."""
        if self.max_age is not None:
            millis = self.max_age // _MILLISECOND
            limit = f"max-age {millis}ms" if millis % 1000 else f"max-age {millis // 1000}s"
        elif self.max_length is not None:
            limit = f"max-length {self.max_length}"
        else:
            limit = "acked" if self.acked else "keep"
        return f"{limit} histories" if self.histories else limit

    def limits(self, now_ms: int) -> Limits | None:
        """What may go at that time; None: nothing."""
        spare = not self.histories
        if self.max_age is not None:
            oldest = max(0, now_ms - self.max_age // _MILLISECOND)
            return Limits(first_kept=f"{oldest}-0", spare_aggregates=spare)
        if self.max_length is not None:
            return Limits(keep=self.max_length, spare_aggregates=spare)
        return Limits(spare_aggregates=spare, once_read=True) if self.acked else None


#: Stands for the types that no retention names.
EVERY_TYPE = "*"


@dataclass(frozen=True, slots=True)
class Policies:
    """What is set, by event type; `unreadable` has what is no retention, and is kept for good."""

    by_type: Mapping[str, Retention]
    unreadable: Mapping[str, str]

    def text(self, event_type: str) -> str:
        """What is set, in words."""
        problem = self.unreadable.get(event_type)
        return f"keep ({problem})" if problem else str(self.of(event_type))

    def of(self, event_type: str) -> Retention:
        """What is kept of a type; what nobody can read is no reason to remove anything."""
        if event_type in self.unreadable:
            return Retention()
        return self.by_type.get(event_type) or self.by_type.get(EVERY_TYPE) or Retention()


def agreed(texts: Iterable[str]) -> str:
    """What is set in all partitions, or, where they differ since a setting was interrupted, that they do."""
    found = sorted(set(texts))
    return found[0] if len(found) == 1 else f"differs between partitions, set it again: {'; '.join(found)}"


def find_policies(keys: Keys) -> Flow[Policies]:
    """What is set."""
    found = yield from raw("HGETALL", keys.retention)
    by_type, unreadable = {}, {}
    for name, text in zip(found[::2], found[1::2], strict=True):
        try:
            by_type[name.decode()] = Retention.parse(text.decode("utf-8", "replace"))
        except SettingsError as error:
            unreadable[name.decode("utf-8", "replace")] = str(error)
    return Policies(by_type, unreadable)


def set_retention(keys: Keys, event_type: str, retention: Retention) -> Flow[None]:
    """Sets it for a type, or for "*": all types that are not named."""
    yield from raw("HSET", keys.retention, event_type, str(retention))


def propose_retention(keys: Keys, event_type: str, retention: Retention) -> Flow[str]:
    """Sets it if nothing is set for the type; what is set then.

    What is set stays, so that a program that starts does not undo what somebody decided, to keep evidence, say.
    """
    yield from raw("HSETNX", keys.retention, event_type, str(retention))
    reply = yield from raw("HGET", keys.retention, event_type)
    return str((reply or b"").decode("utf-8", "replace"))


def plan(keys: Keys) -> Flow[dict[str, Limits]]:
    """By event type, what may go now; types that are kept are left out."""
    policies = yield from find_policies(keys)
    if not policies.by_type:
        return {}
    now_ms, found = (yield from server_ms()), {}
    for name in (yield from known_types(keys, policies)):
        limits = policies.of(name).limits(now_ms)
        if limits is not None:
            found[name] = limits
    return found


def pinned_by(keys: Keys, policies: Policies, event_type: str, now_ms: int) -> Flow[str]:
    """Why entries of a type stay beyond what is set for it, "" if none do (see Trimmed)."""
    limits = policies.of(event_type).limits(now_ms)
    if limits is None:
        return ""
    return (yield from trim_page(keys, event_type, limits, 0)).pinned_by


def server_ms() -> Flow[int]:
    """Unix ms by the clock that gives entries their ids."""
    seconds, micros = yield from raw("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def known_types(keys: Keys, policies: Policies) -> Flow[list[str]]:
    """The types of a partition that have a stream or are named."""
    names = {name.decode() for name in (yield from raw("SMEMBERS", keys.types))}
    return sorted((names | set(policies.by_type) | set(policies.unreadable)) - {EVERY_TYPE})


def trim_before(keys: Keys, event_type: str, first_kept: str) -> Flow[int]:
    """Removes the entries of a type with ids below `first_kept`, and returns how many that were.

    Never one that a group has not read, has pending or waiting, or has not passed with its checkpoint: those and all after
    them stay. The last one removed is recorded, so that a feed that was to go on before it says so. Events that
    histories of aggregates refer to are removed too: the caller sees to it that they are kept elsewhere. Removing is done in
    pages, each whole or not at all; doing it again does no harm. Raises ValueError if `first_kept` is no entry id.
    """
    try:
        parse_id(first_kept)
    except ValueError:
        raise ValueError(f"{first_kept!r} is no entry id, as in 1700000000000-0") from None
    return (yield from trim(keys, event_type, Limits(first_kept, spare_aggregates=False))).removed


def trim(keys: Keys, event_type: str, limits: Limits) -> Flow[Trimmed]:
    """Removes what may go and no group needs, page by page."""
    page, removed = (yield from page_of(keys, event_type)), 0
    while True:
        found = yield from trim_page(keys, event_type, limits, page)
        removed += found.removed
        if found.removed < page:
            return Trimmed(removed, found.pinned_by)


def trim_page(keys: Keys, event_type: str, limits: Limits, most: int) -> Flow[Trimmed]:
    """One script call: removes at most so many of what may go and no group needs."""
    removed, pinned_by = yield from script(
        "trim",
        [keys.stream(event_type), keys.trimmed, keys.groups],
        [
            event_type,
            limits.first_kept,
            limits.keep,
            most,
            keys.checkpoint_prefix,
            int(limits.spare_aggregates),
            int(limits.once_read),
        ],
    )
    return Trimmed(removed, pinned_by.decode())


def page_of(keys: Keys, event_type: str) -> Flow[int]:
    """How many entries one script call is to remove."""
    stream = keys.stream(event_type)
    length = yield from raw("XLEN", stream)
    size = (yield from raw("MEMORY", "USAGE", stream)) or 0
    return max(1, min(_PAGE, _PAGE_BYTES * length // size)) if size else _PAGE
