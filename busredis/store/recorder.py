"""Operations on an event store as flows of Redis commands, and when they are tried again."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from busredis.append import Appender
from busredis.codec import Codec
from busredis.commands import Arg, Flow, many, raw, scan, script
from busredis.errors import (
    ConnectionLost,
    DecodeError,
    HistoryDamaged,
    PositionGone,
    PublishRefused,
    ServerError,
    ServerUnavailable,
)
from busredis.events import DomainEvent, registry
from busredis.keys import Keys, just_before, parse_id
from busredis.partitions import learn, partition_of
from busredis.privacy import vault_of
from busredis.settings import Settings
from busredis.store.commits import Commits, one_partition
from busredis.store.model import AggregateId, Page, StoredEvent
from busredis.store.operations import (
    Append,
    AwaitEntries,
    Blocking,
    Entry,
    FindHorizon,
    FindPartitions,
    FindTracked,
    FindTypes,
    Horizon,
    Load,
    LoadRows,
    Operation,
    ReadStreams,
    WriteSnapshot,
)
from busredis.store.rows import Rows

#: Most bytes of events in one page; one event always fits.
_PAGE_BYTES = 4 * 1_048_576
#: Seconds between two looks through all keys for streams that other programs have begun.
_TYPES_EVERY_S = 10.0
#: What an append that took entries back leaves as the last removed one: see append.lua.
_NOTHING_REMOVED = (0, 1)


@dataclass(slots=True)
class Call:
    """One operation under way: a flow for each try, and what to do after a failure."""

    flow: Callable[[], Flow[Any]]
    #: Seconds to wait before the next try; raises when there is none.
    after: Callable[[ServerError], float]


class Recorder:
    """Turns operations into calls; safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        #: The keys of each partition, once it is known how many there are.
        self.partitions: list[Keys] = []
        self.codec = Codec(settings.max_event_bytes, vault_of(settings))
        self._settings = settings
        self._free: dict[Keys, list[Appender]] = {}
        self._look_again: dict[Keys, float] = {}

    def lacks(self, operation: Operation) -> bool:
        """Whether FindPartitions has to be performed first."""
        return not self.partitions and not isinstance(operation, FindPartitions)

    def keys_of(self, aggregate: AggregateId) -> Keys:
        """The keys of the partition that an aggregate is in."""
        return self.partitions[partition_of(aggregate.id, len(self.partitions))]

    @contextmanager
    def call(self, operation: Operation) -> Iterator[Call]:
        """`operation` as flows, for as long as the context lasts."""
        if not isinstance(operation, Append):
            yield Call(partial(self._flow, operation), _Patience(self._settings).after)
            return
        # One append at a time under one name, so that a retry is recognised; as many names as appends at once.
        keys = one_partition(operation, self.partitions)
        free = self._free.setdefault(keys, [])
        try:
            appender = free.pop()
        except IndexError:
            appender = Appender(self._settings, partition=keys)
        try:
            commits = Commits(appender, operation.commits, operation.tracking)
            yield Call(partial(commits.flow, self._load), commits.after)
        finally:
            free.append(appender)

    def _flow(self, operation: Operation) -> Flow[Any]:
        result: Any = None
        match operation:
            case Load():
                result = yield from self._load(operation)
            case LoadRows():
                result = yield from self._rows(operation.load)
            case WriteSnapshot():
                result = yield from self._write_snapshot(operation)
            case FindTracked():
                result = yield from self._find_tracked(operation.source)
            case FindPartitions():
                result = yield from self._find_partitions()
            case Append() | Blocking():
                raise AssertionError("an append is not idempotent, and files are not read here: see call()")
            case _:
                result = yield from self._feed(operation)
        return result

    def _feed(self, operation: FindHorizon | FindTypes | ReadStreams | AwaitEntries) -> Flow[Any]:
        """What a feed of one partition asks for."""
        keys = self.partitions[operation.partition]
        match operation:
            case FindHorizon():
                reply = yield from script("horizon", [keys.clock, keys.types], [])
                horizon, last, *names = [part.decode() for part in reply]
                return Horizon(horizon, last, sorted(names))
            case FindTypes():
                yield from self._find_types(keys)
            case ReadStreams():
                return (yield from self._read_streams(operation))
            case AwaitEntries():
                # Of no type yet: a stream that never is, for the wait alone.
                streams = [keys.stream(name) for name in operation.types or [""]]
                args = ("BLOCK", int(operation.seconds * 1000) or 1, "COUNT", 1, "STREAMS")
                yield from raw("XREAD", *args, *streams, *[operation.after] * len(streams))
        return None

    def _find_partitions(self) -> Flow[int]:
        found = yield from learn(self._settings.namespace, self._settings.partitions)
        self.partitions = found
        return len(found)

    def _load(self, load: Load) -> Flow[Page]:
        return self.page((yield from self._rows(load)))

    def _rows(self, load: Load) -> Flow[Rows]:
        aggregate = load.aggregate
        own = self.keys_of(aggregate)
        keys = [own.aggregate(*aggregate), own.snapshot(*aggregate), own.personal]
        upto: Arg = "" if load.upto is None else max(load.upto, 0)
        at: Arg = "" if load.at is None else int(load.at.timestamp() * 1000)
        args: list[Arg] = [own.stream_prefix, load.after, upto, at, load.count, _PAGE_BYTES]
        reply = yield from script("load", keys, [*args, load.schema, int(load.backward)])
        version, upto_version, after, snapshot, rows, erasures = reply
        page = Page(version, upto_version, after, erasures=erasures.decode())
        if isinstance(snapshot, bytes):
            page.found = snapshot.decode()  # type: ignore[assignment]  # one of the words of load.lua
        else:
            page.found, page.state = "used", snapshot[1]
            page.taken_at, page.position = snapshot[2].decode("utf-8", "replace"), snapshot[3].decode()
        return Rows(load, page, rows)

    def page(self, rows: Rows) -> Page:
        """The page of these rows. Raises HistoryDamaged if one has no event, DecodeError."""
        load, page = rows.load, rows.page
        first, step = (page.upto, -1) if load.backward else (page.after + 1, 1)
        page.events = self._events(load.aggregate, rows.parts, first, step)
        return page

    def _events(self, aggregate: AggregateId, rows: list[Any], version: int, step: int) -> list[StoredEvent]:
        kinds: dict[bytes, tuple[type[DomainEvent], str]] = {}
        events, decode = [], self.codec.decode_json
        for kind, entry_id, raw_event in zip(rows[0::3], rows[1::3], rows[2::3], strict=True):
            if kind not in kinds:
                cls = registry.get(kind.decode())
                kinds[kind] = cls, cls.attribute_of("aggregate_version")
            cls, attribute = kinds[kind]
            position = entry_id.decode()
            if raw_event is None:
                detail = f"version {version}: its event {position} is not in the stream of {kind.decode()}"
                raise HistoryDamaged(aggregate, detail)
            try:
                event = decode(cls, position, raw_event)
            except DecodeError as error:
                where = f"{aggregate.type} {aggregate.id!r} version {version}, {kind.decode()} {position}"
                raise DecodeError(error.reason, f"{where}: {error.detail}") from error
            said = event.__dict__[attribute]
            if said != version and said is not None:
                detail = (
                    f"version {version} refers to {kind.decode()} {position}, which is its version {said}"
                )
                raise HistoryDamaged(aggregate, detail)
            events.append(StoredEvent(event, position, version))
            version += step
        return events

    def _write_snapshot(self, write: WriteSnapshot) -> Flow[str]:
        own = self.keys_of(write.aggregate)
        keys = [own.aggregate(*write.aggregate), own.snapshot(*write.aggregate), own.personal]
        snapshot = write.snapshot
        args: list[Arg] = [snapshot.version, snapshot.state, snapshot.schema, snapshot.taken_at.isoformat()]
        reply = yield from script(
            "snapshot", keys, [*args, snapshot.position, int(write.replace), snapshot.erasures]
        )
        return str(reply.decode())

    def _find_tracked(self, source: str) -> Flow[str | None]:
        # In each partition stands what was made of the source there: it was worked off up to the last of them.
        replies = yield from many([("HGET", keys.tracking, source) for keys in self.partitions])
        for reply in replies:
            if isinstance(reply, ServerError):
                raise reply
        return max((reply.decode() for reply in replies if reply), key=parse_id, default=None)

    def _find_types(self, keys: Keys) -> Flow[None]:
        # It goes through every key of the server, and a reader that polls begins a feed each time.
        now = time.monotonic()
        if now < self._look_again.get(keys, 0.0):
            return
        self._look_again[keys] = now + _TYPES_EVERY_S
        found = yield from scan(keys.every_stream)
        if found:
            yield from raw("SADD", keys.types, *map(keys.event_type, found))

    def _read_streams(self, read: ReadStreams) -> Flow[dict[str, list[Entry]]]:
        commands: list[tuple[Arg, ...]] = []
        for event_type, after in read.after.items():
            stream = self.partitions[read.partition].stream(event_type)
            commands.append(("XRANGE", stream, f"({after}", read.upto, "COUNT", read.count))
            commands.append(("XINFO", "STREAM", stream))
        # Last, so that what was trimmed while the streams were read is noticed.
        commands.append(("HMGET", self.partitions[read.partition].trimmed, *read.after))
        *replies, trimmed = yield from many(commands)
        if isinstance(trimmed, ServerError):
            raise trimmed
        found: dict[str, list[Entry]] = {}
        for index, (event_type, after) in enumerate(read.after.items()):
            entries, info = replies[2 * index], replies[2 * index + 1]
            if isinstance(entries, ServerError):
                raise entries
            _check_trimmed(event_type, after, trimmed[index])
            if not isinstance(info, ServerError):
                _check_whole(event_type, after, info)
            found[event_type] = [(entry_id.decode(), fields) for entry_id, fields in entries]
        return found


def _check_trimmed(event_type: str, after: str, trimmed: bytes | None) -> None:
    """Raises PositionGone if busredis itself trimmed entries above `after`, which is known exactly on every server."""
    if trimmed is not None and parse_id(trimmed.decode()) > parse_id(after):
        raise PositionGone(event_type, after, trimmed.decode())


def _check_whole(event_type: str, after: str, info: list[Any]) -> None:
    """Raises PositionGone if entries above `after` were removed, as far as the server tells.

    From Redis 7.0 on it knows the last entry that XDEL removed, and how many were ever added: what XTRIM removed is
    certain to have been behind the beginning only, if it was not busredis that trimmed (https://redis.io/docs/latest/commands/xinfo-stream/).
    """
    values = {info[index]: info[index + 1] for index in range(0, len(info), 2)}
    removed = values.get(b"max-deleted-entry-id", b"0-0").decode()
    if parse_id(removed) > max(parse_id(after), _NOTHING_REMOVED):
        raise PositionGone(event_type, after, removed)
    if parse_id(after) == (0, 0) and values.get(b"entries-added", 0) > values[b"length"]:
        first = values[b"first-entry"]
        last = values[b"last-generated-id"].decode()
        raise PositionGone(event_type, after, just_before(first[0].decode()) if first else last)


@contextmanager
def learning(operation: Operation) -> Iterator[None]:
    """An append that ends before it began was refused."""
    try:
        yield
    except ServerError as error:
        if not isinstance(operation, Append):
            raise
        raise PublishRefused(f"not written: {error}") from error


class _Patience:
    """How long a read goes on through trouble with the server: for `publish_timeout`."""

    def __init__(self, settings: Settings) -> None:
        self._deadline = time.monotonic() + settings.publish_timeout.total_seconds()
        self._pause = 0.02

    def after(self, error: ServerError) -> float:
        left = self._deadline - time.monotonic()
        if not isinstance(error, ConnectionLost | ServerUnavailable) or left < self._pause:
            raise error
        self._pause = min(self._pause * 2, 1.0)
        return self._pause / 2
