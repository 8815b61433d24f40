"""One append: a batch of encoded events, its script call, and its three outcomes. Written once for sync and async."""

import hashlib
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from busredis.codec import FIELD, Codec
from busredis.commands import Arg, Flow, many, script
from busredis.context import inherit, is_inheriting
from busredis.durability import syncs_before_it_answers
from busredis.errors import (
    CommandRefused,
    ConnectionLost,
    EncodeError,
    NotSent,
    PublishIndeterminate,
    PublishRefused,
    ServerError,
    ServerUnavailable,
)
from busredis.events import DomainEvent
from busredis.keys import Keys
from busredis.lua import load
from busredis.privacy import vault_of
from busredis.settings import Settings

#: The answer to an append is remembered far longer than any retry of it can take.
_REMEMBER = 30


@dataclass(slots=True)
class Record:
    """One encoded event on its way into the stream of its type."""

    event_type: str
    json: bytes
    key: str | None = None
    fingerprint: str = ""
    #: Which of the append's guards: the aggregate that the event belongs to.
    guard: int | None = None


#: The index in KEYS of the first stream.
_FIRST = 4
#: Any version will do; the event gets the next one.
ANY = -1


@dataclass(frozen=True, slots=True)
class Guard:
    """What must be so for an append to be written: mostly, the version that a history has.

    `key` is a history and `expected` its version, or the tracking hash and `>position source`.
    """

    key: str
    expected: int | str


@dataclass(frozen=True, slots=True)
class Reply:
    """The entry ids in the order of the batch, and the version of each guarded aggregate after it."""

    ids: list[str]
    versions: list[int]


@dataclass(slots=True)
class Attempt:
    """What is known of an append while it is retried."""

    number: int
    deadline: float
    may_have_run: bool = False
    pause: float = 0.02


@dataclass
class Appender:
    """Prepares and appends batches for one partition; numbers them, so that a retry is recognised by the server."""

    settings: Settings
    name: str = field(default_factory=lambda: f"publisher-{uuid.uuid4().hex[:16]}")
    number: int = 0
    #: The partition; None for the one of a namespace that is not divided.
    partition: Keys | None = None

    def __post_init__(self) -> None:
        self.keys = self.partition or Keys(self.settings.namespace)
        self.codec = Codec(self.settings.max_event_bytes, vault_of(self.settings))
        self._script = load("append")
        self._pid = os.getpid()
        self._timeout = self.settings.publish_timeout.total_seconds()
        self._is_durable = self.settings.durability != "memory"
        window = int(self._timeout * 1000 * _REMEMBER)
        self._head_args = (window, _ms(self.settings.once_window), FIELD, self.keys.stream_prefix)
        self._learn_keys()

    def _learn_keys(self) -> None:
        self._head_keys = (self.keys.clock, self.keys.once(self.name), self.keys.types)

    def record(self, event: DomainEvent, key: str | None = None) -> Record:
        """`event` with what it inherits from the event being handled, encoded. Raises EncodeError."""
        if key is not None:
            _check_key(key)
        # A copy, since what orjson returns keeps a kilobyte or more from others as long as it lives: when 20,000 events
        # waited to be sent, it took the system longer to map memory than all else took together.
        raw = b"%b" % self.codec.encode(inherit(event))
        if key is None:
            return Record(event.event_type, raw)
        payload = type(event).model_construct(**{**event.__dict__, **_ANONYMOUS}).to_json()
        return Record(event.event_type, raw, key, hashlib.sha256(payload).hexdigest()[:32])

    def records(self, events: Sequence[DomainEvent]) -> list[Record]:
        """As record(), without keys, for many."""
        if is_inheriting():
            return [self.record(event) for event in events]
        encode = self.codec.encode
        return [Record(type(event).type_name, b"%b" % encode(event)) for event in events]

    def begin(self, spent: float = 0.0) -> Attempt:
        """Numbers the next append and starts its clock, of which seconds may be spent already."""
        if self._pid != os.getpid():
            # A fork has this object twice; under one name the server would take one's append for the other's retry.
            self._pid, self.name, self.number = os.getpid(), f"publisher-{uuid.uuid4().hex[:16]}", 0
            self._learn_keys()
        self.number += 1
        return Attempt(self.number, time.monotonic() + self._timeout - spent)

    def flow(self, batch: Sequence[Record], attempt: Attempt, guards: Sequence[Guard] = ()) -> Flow[Reply]:
        """One try."""
        keys, args = self._call(batch, attempt, guards)
        on_disk = self._is_durable and (yield from self._is_safe_already())
        reply = yield from script(self._script, keys, args)
        if self._is_durable and not on_disk:
            yield from self.make_durable(attempt, appended=True)
        return _reply(reply, len(batch))

    def _call(
        self, batch: Sequence[Record], attempt: Attempt, guards: Sequence[Guard] = ()
    ) -> tuple[list[str], list[Arg]]:
        """KEYS and ARGV."""
        types = list({record.event_type: 0 for record in batch})
        keys = [*self._head_keys, *map(self.keys.stream, types)]
        args: list[Arg] = [attempt.number, *self._head_args, len(guards)]
        for guard in guards:
            keys.append(guard.key)
            args += (len(keys), guard.expected)
        if len(types) == 1 and not guards and not any(record.key for record in batch):
            args.append(f"{_FIRST}*{len(batch)}")
            args += [record.json for record in batch]
        else:
            self._place(batch, types, keys, args)
        return keys, args

    def _place(self, batch: Sequence[Record], types: list[str], keys: list[str], args: list[Arg]) -> None:
        """Says of each event where it goes."""
        streams = {event_type: _FIRST + offset for offset, event_type in enumerate(types)}
        for record in batch:
            where = str(streams[record.event_type])
            if record.guard is not None:
                where = f"{where}>{record.guard + 1}"
            elif record.key is not None:
                keys.append(self.keys.once(record.key))
                where = f"{where}:{len(keys)}:{record.fingerprint}"
            args += (where, record.json)

    def _is_safe_already(self) -> Flow[bool]:
        """Whether an append is as durable as the settings want when it is answered."""
        return self.settings.durability == "fsync" and (yield from syncs_before_it_answers())

    def make_durable(self, attempt: Attempt, *, appended: bool = False) -> Flow[None]:
        """Waits until what was written before is as durable as the settings want. Raises PublishIndeterminate.

        With `appended` it is the append of this attempt, which the server that waits must have: ConnectionLost if not.
        """
        # WAIT looks at what its own connection wrote (https://redis.io/docs/latest/commands/wait/): a no-op write
        # of ours on the connection that now waits puts everything before it under the same promise.
        left = max(1, int((attempt.deadline - time.monotonic()) * 1000))
        fsync = self.settings.durability == "fsync"
        if not appended and (yield from self._is_safe_already()):
            return
        wait: tuple[Arg, ...] = ("WAITAOF", 1, 0, left) if fsync else ("WAIT", 1, left)
        mark = ("SET", self.keys.once(f"{self.name}-mark"), attempt.number, "PX", 60_000)
        answered, *replies = yield from many([("GET", self.keys.once(self.name)), mark, wait])
        for reply in (answered, *replies):
            if isinstance(reply, ServerError):
                raise PublishIndeterminate(
                    f"written, but {self.settings.durability} durability failed: {reply}"
                ) from reply
        if appended and (answered or b"").partition(b" ")[0] != str(attempt.number).encode():
            # This connection may lead to another server, or to one that was restarted, than the one that appended.
            raise ConnectionLost("the server that appended is gone before the append was safe")
        confirmed = int(replies[1][0] if fsync else replies[1])
        if confirmed < 1:
            raise PublishIndeterminate(
                f"written, but not confirmed as {self.settings.durability} within the timeout"
            )

    def before(self, error: ServerError, attempt: Attempt, batch: Sequence[Record]) -> float:
        """As after(), when nothing of the append was sent yet."""
        found = NotSent(str(error)) if isinstance(error, ConnectionLost) else error
        return self.after(found, attempt, batch)

    def after(
        self, error: ServerError, attempt: Attempt, batch: Sequence[Record], what: str | None = None
    ) -> float:
        """Seconds to wait before the next try. Raises the outcome when there is none: refused or indeterminate."""
        if not isinstance(error, NotSent | ServerUnavailable | CommandRefused):
            attempt.may_have_run = True
        what = what or f"{len(batch)} event(s), the first of type {batch[0].event_type}"
        final = isinstance(error, CommandRefused) or str(error).startswith("OOM")
        left = attempt.deadline - time.monotonic()
        if not final and left > attempt.pause:
            attempt.pause = min(attempt.pause * 2, 1.0)
            return attempt.pause / 2
        if attempt.may_have_run:
            raise PublishIndeterminate(
                f"no answer for {what} within {self.settings.publish_timeout}: {error}"
            ) from error
        raise PublishRefused(f"{what} not written: {_plain(str(error), batch)}") from error

    def pieces(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """`records` cut into appends that keep the limits on events and bytes."""
        found, start, size = [], 0, 0
        most, most_bytes = self.settings.batch_events, self.settings.batch_bytes
        for index, record in enumerate(records):
            size += len(record.json)
            if index > start and (index - start >= most or size > most_bytes):
                found.append(records[start:index])
                start, size = index, len(record.json)
        if start < len(records):
            found.append(records[start:])
        return found


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= 128:
        size = f"has {len(key)}" if isinstance(key, str) else f"is of type {type(key).__name__}"
        raise EncodeError(f"an idempotency key is a text of 1 to 128 characters, this one {size}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise EncodeError("an idempotency key has a lone surrogate, which UTF-8 cannot carry") from None


#: What differs when a program makes the same event again.
_ANONYMOUS = {"event_id": uuid.UUID(int=0)} | dict.fromkeys(
    ("occurred_at", "correlation_id", "causation_id", "traceparent")
)


def _plain(message: str, batch: Sequence[Record]) -> str:
    word, _, rest = message.partition(" ")
    if word == "REUSED":
        record = batch[int(rest) - 1]
        return f"the idempotency key {record.key!r} was used for another event of type {record.event_type}"
    if word == "MOVED":
        return f"{message}: this is one node of a cluster, use redis+cluster://HOST:PORT"
    if word == "EXHAUSTED":
        return f"stream {rest}, beyond which no id is left: another program added an entry of the far future"
    return message


def _reply(answer: bytes, count: int) -> Reply:
    ids, _, versions = answer.decode().partition("|")
    return Reply(_ids(ids, count), [int(version) for version in versions.split()])


def _ids(reply: str, count: int) -> list[str]:
    ids = reply.split()
    if len(ids) == count:
        return ids
    ms, _, seq = reply.partition("-")
    first = int(seq)
    return [f"{ms}-{first + offset}" for offset in range(count)]


def _ms(duration: timedelta) -> int:
    return max(1, int(duration.total_seconds() * 1000))
