"""The pending list of a group, as flows: read, acknowledge, wait, give up, claim, renew, sweep."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from busredis.commands import Arg, Flow, given_name, many, pairs, raw, script, sent_name
from busredis.delivery.arguments import by_attempt, by_stream
from busredis.delivery.looks import Looks
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.replays import is_upto
from busredis.delivery.waiting import waiting_name
from busredis.errors import ServerError
from busredis.keys import WAITING, Keys
from busredis.lua import load

#: Rows of its own that a consumer is told in one reply.
_OWN_PAGE = 1_000
#: How long it is remembered what became of effects, for a daemon that did not hear it.
_REMEMBERED_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a pending list (https://redis.io/docs/latest/commands/xpending/)."""

    stream: str
    id: bytes
    holder: str
    idle_ms: int
    count: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """A page of the pending lists. `more`: more is behind it; `is_quiet`: nothing is pending, unread or missing."""

    rows: list[Row]
    pending: int
    missing: list[str]
    more: bool
    is_quiet: bool


@dataclass
class Pending:
    """The pending lists of one group, as one consumer sees them."""

    keys: Keys
    group: str
    consumer: str
    streams: list[str]
    #: A shadow group: whatever it is given, the group that it stands for has had.
    is_shadow: bool = False
    _looks: Looks = field(default_factory=Looks)
    #: What replay:<group> says.
    _replays: dict[str, bytes] = field(default_factory=dict)

    def ensure(self, start_id: str, *, restore: bool) -> Flow[list[str]]:
        """Creates the group where it is missing; returns the streams where it was. An existing group is not moved.

        A group that got lost is created at its checkpoint, so that nothing open is skipped.
        """
        known = pairs((yield from raw("HGETALL", self.keys.checkpoint(self.group))))
        first = "0-0" if restore else start_id
        commands: list[tuple[Arg, ...]] = [
            ("XGROUP", "CREATE", stream, self.group, known.get(stream, first), "MKSTREAM")
            for stream in self.streams
        ]
        # Known before it is there: retention keeps what the checkpoints of known groups still need.
        yield from raw("SADD", self.keys.groups, self.group)
        types = [
            self.keys.event_type(name) for name in self.streams if name.startswith(self.keys.stream_prefix)
        ]
        if types:
            # So that whoever looks for the streams need not go through all keys of the server.
            yield from raw("SADD", self.keys.types, *types)
        replies = yield from many(commands)
        created = []
        for stream, reply in zip(self.streams, replies, strict=True):
            if not isinstance(reply, ServerError):
                created.append(stream)
            elif not str(reply).startswith("BUSYGROUP"):
                raise type(reply)(f"group {self.group!r} on {stream}: {reply}")
        return created

    def read(self, streams: Sequence[str], count: int, block_ms: int | None) -> Flow[list[Any]]:
        """New entries, at most `count` a stream, raw: `[[stream, [[id, fields], ...]], ...]`."""
        found = self._found((yield from many(self._read(streams, count, block_ms))))
        if isinstance(found, ServerError):
            raise found
        return found

    def _read(self, streams: Sequence[str], count: int, block_ms: int | None) -> list[tuple[Arg, ...]]:
        wait: tuple[Arg, ...] = () if block_ms is None else ("BLOCK", block_ms)
        head: tuple[Arg, ...] = ("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", count)
        read: tuple[Arg, ...] = (*head, *wait, "STREAMS", *streams, *[">"] * len(streams))
        # Behind the read: a replay moves the group and says so in one step, so what is given again is known to be.
        return [read, ("HGETALL", self.keys.replay(self.group))]

    def _found(self, replies: Sequence[Any]) -> list[Any] | ServerError:
        """What the replies to _read() say, or the error among them."""
        reply, replays = replies
        for found in (reply, replays):
            if isinstance(found, ServerError):
                return found
        self._replays = pairs(replays)
        return reply or []

    @property
    def may_replay(self) -> bool:
        """Whether anything at all is a replay."""
        return self.is_shadow or bool(self._replays)

    def is_replay(self, stream: str, entry_id: bytes) -> bool:
        """Whether the group has had this entry before, as far as the last look at the server says."""
        until = self._replays.get(stream) if self._replays else None
        return self.is_shadow or (
            until is not None and is_upto(entry_id, until, self.keys.replay(self.group))
        )

    @property
    def with_side_effects(self) -> bool:
        """Whether the replay was asked to run handlers with side effects."""
        return self.is_shadow or self._replays.get("side-effects") == b"1"

    def _look_at_replays(self) -> Flow[None]:
        self._replays = pairs((yield from raw("HGETALL", self.keys.replay(self.group))))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> Flow[set[bytes]]:
        """Acknowledges what this consumer still holds; returns the ids of the rest."""
        keys, args = self._to_settle(deliveries)
        return set((yield from script("settle", keys, args)))

    def _to_settle(self, deliveries: Sequence[Delivery]) -> tuple[list[str], list[Arg]]:
        streams, args = by_attempt(deliveries, first=2)
        return [self.keys.failures(self.group), *streams], [self.group, self.consumer, *args]

    def acknowledge_and_read(
        self, deliveries: Sequence[Delivery], count: int
    ) -> Flow[tuple[set[bytes], list[Any] | ServerError]]:
        """As acknowledge() and then read(), in one round trip; what read() raises is returned."""
        keys, args = self._to_settle(deliveries)
        settle = ("EVALSHA", load("settle").sha, len(keys), *keys, *args)
        lost, *replies = yield from many([settle, *self._read(self.streams, count, None)])
        if isinstance(lost, ServerError):
            # Entries that were read meanwhile are this consumer's: they are not to be lost with the error.
            lost = yield from script("settle", keys, args)
        return set(lost), self._found(replies)

    def apply(self, number: int, ended: Sequence[tuple[Delivery, Outcome]]) -> Flow[list[str]]:
        """Applies effects and acknowledges, for each delivery both or neither; says what was done, see effects.lua.

        Called again with the same `number`, which rises with each call, it does nothing and says the same.
        """
        positions: dict[str, int] = {}

        def position(key: str) -> int:
            return positions.setdefault(key, len(positions) + 1)

        position(self.keys.failures(self.group))
        position(self.keys.once(f"effects:{self.group}:{self.consumer}"))
        args: list[Arg] = [self.group, self.consumer, number, _REMEMBERED_MS]
        for delivery, outcome in ended:
            args += (position(delivery.stream), delivery.id, delivery.attempt, len(outcome.effects))
            for effect in outcome.effects:
                args += (effect.command, position(effect.key), len(effect.args), *effect.args)
        reply: bytes = yield from script("effects", list(positions), args)
        return reply.decode("utf-8", "replace").split("\n")

    def wait(self, delivery: Delivery, outcome: Outcome) -> Flow[bool]:
        """Lets an entry wait for its next attempt; false if the lease on it is lost.

        One whose entry was deleted meanwhile cannot be tried again: it becomes a dead letter.
        """
        lost, gone = yield from self._wait([delivery], waiting_name(outcome), outcome)
        if gone:
            outcome.verdict, outcome.reason = Verdict.DEAD_LETTER, "trimmed"
            return (yield from self.dead_letter(delivery, outcome))
        return not lost

    def release(self, deliveries: Sequence[Delivery], outcome: Outcome) -> Flow[None]:
        """Hands entries back that were not run; any daemon may take them at once, and no attempt is counted."""
        streams: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            streams.setdefault(delivery.stream, []).append(delivery)
        for held in streams.values():
            yield from self._wait(held, f"{WAITING}-0", outcome)

    def _wait(
        self, held: Sequence[Delivery], name: str, outcome: Outcome
    ) -> Flow[tuple[list[bytes], list[bytes]]]:
        args: list[Arg] = [self.group, self.consumer, name, int(outcome.counts), _now_ms(), outcome.error]
        for delivery in held:
            args += (delivery.id, delivery.attempt)
        lost, gone = yield from script("wait", [held[0].stream, self.keys.failures(self.group)], args)
        return lost, gone

    def dead_letter(self, delivery: Delivery, outcome: Outcome) -> Flow[bool]:
        """Moves an entry to the dead letters of the group; false if the lease on it is lost."""
        keys = [delivery.stream, self.keys.dead(self.group), self.keys.failures(self.group)]
        return (yield from script("dead_letter", keys, self._letter(delivery, outcome))) is not None

    def _letter(self, delivery: Delivery, outcome: Outcome) -> list[Arg]:
        return [
            self.group,
            sent_name(delivery.holder),
            delivery.attempt,
            delivery.id,
            _now_ms(),
            delivery.event_class.type_name,
            outcome.reason,
            outcome.error,
            outcome.traceback,
            self.consumer,
        ]

    def claim(
        self, row: Row, least_idle_ms: int, count: int, *, alone: bool = False
    ) -> Flow[list[bytes] | None]:
        """Takes an entry over, if nobody else was faster (then None); an empty list if it was deleted.

        `alone` notes that nothing will run beside it, so that it is known who is to blame if it does not finish.
        """
        args: list[Arg] = [self.group, self.consumer, row.id, sent_name(row.holder), least_idle_ms, row.count]
        args += (count, _now_ms() if alone else "")
        fields: list[bytes] | None = yield from script(
            "claim", [row.stream, self.keys.failures(self.group)], args
        )
        return fields

    def was_alone(self, row: Row) -> Flow[bool]:
        """Whether the last attempt of an entry ran with nothing beside it."""
        note = f"alone {row.stream} {row.id.decode()}"
        return (yield from raw("HGET", self.keys.failures(self.group), note)) is not None

    def renew(self, deliveries: Sequence[Delivery]) -> Flow[set[bytes]]:
        """Renews the lease on what this consumer still holds; returns the ids of the rest."""
        streams, args = by_stream(deliveries)
        return set((yield from script("renew", streams, [self.group, self.consumer, *args])))

    def renew_own(self) -> Flow[None]:
        """Renews the lease on everything that the server says this consumer holds."""
        rows = yield from self.own()
        streams: dict[str, list[Arg]] = {}
        for row in rows:
            streams.setdefault(row.stream, []).extend((row.id, row.count))
        args = [part for held in streams.values() for part in (len(held) // 2, *held)]
        if streams:
            yield from script("renew", list(streams), [self.group, self.consumer, *args])

    def sweep(self, lease_ms: int, *, others: bool = True) -> Flow[Sweep]:
        """A page of what waits or, with `others`, is held by a silent consumer; goes on where the last sweep stopped."""
        keys = [self.keys.checkpoint(self.group), self.keys.replay(self.group), *self.streams]
        looks = self._looks.args(self.streams, others=others)
        replies = yield from script("sweep", keys, [self.group, lease_ms, *looks])
        yield from self._look_at_replays()
        rows, missing, pending, unread, more = [], [], 0, 0, False
        for stream, reply in zip(self.streams, replies, strict=True):
            if reply is None:
                missing.append(stream)
                continue
            pending, unread = pending + reply[0], unread + reply[5]
            more = more or bool(reply[2])
            rows += [
                Row(stream, id_, given_name(holder), idle, count) for id_, holder, idle, count in reply[1]
            ]
            self._looks.note(stream, reply[3], reply[4])
        return Sweep(rows, pending, missing, more, is_quiet=not (pending or unread or missing))

    def go_on_at(self, rows: Sequence[Row]) -> None:
        """What was seen and not taken up: the next sweep begins with it."""
        for row in reversed(rows):
            self._looks.go_on_at(row.stream, row.holder, row.id.decode())

    def own(self) -> Flow[list[Row]]:
        """Everything that this consumer holds, as the server sees it."""
        rows: list[Row] = []
        for stream in self.streams:
            start, reply = "-", None
            while reply is None or len(reply) == _OWN_PAGE:
                reply = yield from raw("XPENDING", stream, self.group, start, "+", _OWN_PAGE, self.consumer)
                rows += [
                    Row(stream, id_, given_name(holder), idle, count) for id_, holder, idle, count in reply
                ]
                start = f"({rows[-1].id.decode()}" if reply else start
        yield from self._look_at_replays()
        return rows

    def forget_consumers(self, silent_ms: int) -> Flow[int]:
        """Removes consumers that hold nothing and were silent for so long."""
        removed: int = yield from script(
            "forget_consumers", self.streams, [self.group, silent_ms, self.consumer]
        )
        return removed


def _now_ms() -> int:
    return int(time.time() * 1000)
