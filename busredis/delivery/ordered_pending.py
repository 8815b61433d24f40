"""The pending lists of a group whose handler is ordered, as its owner sees them: each move is fenced by the token."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from busredis.commands import Arg, Flow, given_name, pairs, raw, script, sent_name
from busredis.delivery.model import RELEASE, Delivery, Outcome
from busredis.delivery.pending import Pending, Row
from busredis.errors import BusError, GroupMissing
from busredis.keys import BEHIND, parse_id

Entry = tuple[str, bytes, list[bytes]]


class OwnershipLost(BusError):
    """Another daemon owns this group now: nothing that this one still does is applied."""

    def __init__(self, group: str) -> None:
        super().__init__(f"the ordered handling of {group} is owned by another daemon now")
        self.group = group


class NewEntries(NamedTuple):
    """What a read found; `left` is more, soon or none; `reached` has the last id that was delivered, by stream."""

    has_parked: bool
    left: str
    reached: dict[str, str]
    entries: list[Entry]


class Page(NamedTuple):
    """A piece of the pending lists in total order; `after` is where the next one begins, None if there is none."""

    has_parked: bool
    after: bytes | None
    rows: list[tuple[Row, list[bytes] | None]]


class Take(NamedTuple):
    """An entry to be taken in hand as it was seen, and its delivery count from then on."""

    row: Row
    attempt: int
    alone: bool = False


class Taken(NamedTuple):
    """An entry in hand, with its `fields` (none if it was deleted); or, with None, how it is: no `row` if it is settled."""

    fields: list[bytes] | None
    row: Row | None = None


class Parked(NamedTuple):
    """The first entry of a key that is a dead letter, or, with no `letter`, was one and is tried again."""

    member: bytes
    position: tuple[int, int]
    letter: str


@dataclass
class OrderedPending(Pending):
    """Of a tenure: `consumer` and `token` are of the owner. Flows raise OwnershipLost when it is not the owner any more."""

    token: int = 0
    _number: int = 0
    _places: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {stream: place for place, stream in enumerate(self.streams)}

    def begin(self, consumer: str, token: int) -> None:
        """A tenure begins; what an earlier one of this daemon still sends names another consumer, and does nothing."""
        self.consumer, self.token, self._number = consumer, token, 0

    def read_new(self, most: int) -> Flow[NewEntries]:
        """New entries in total order, at most `most` of each stream."""
        keys = [self.keys.owner(self.group), self.keys.clock, self.keys.parked(self.group)]
        keys += [self.keys.replay(self.group), *self.streams]
        reply = self._owned((yield from script("read_owned", keys, [*self._call(), most])))
        has_parked, left, reached, entries, replays = reply
        self._replays = pairs(replays)
        return NewEntries(
            bool(has_parked),
            left.decode(),
            {stream: last.decode() for stream, last in zip(self.streams, reached, strict=True)},
            sorted(
                ((self.streams[place], entry_id, fields) for place, entry_id, fields in entries),
                key=lambda entry: parse_id(entry[1].decode()),
            ),
        )

    def page(self, after: bytes, most: int) -> Flow[Page]:
        """Pending entries in total order behind `after`, at most `most` of each stream; takes over what others hold."""
        keys = [self.keys.owner(self.group), self.keys.parked(self.group)]
        keys += [self.keys.replay(self.group), *self.streams]
        reply = self._owned((yield from script("page_owned", keys, [*self._call(), most, after])))
        has_parked, following, found, replays = reply
        self._replays = pairs(replays)
        rows = [
            (
                Row(self.streams[place], entry_id, given_name(holder), idle, count),
                None if fields == 0 else fields,
            )
            for place, entry_id, holder, idle, count, fields in found
        ]
        rows.sort(key=lambda pair: parse_id(pair[0].id.decode()))
        return Page(bool(has_parked), following or None, rows)

    def take(self, wanted: Sequence[Take]) -> Flow[list[Taken]]:
        """Takes entries in hand, each if it is as it was seen."""
        keys = [self.keys.owner(self.group), self.keys.failures(self.group), *self.streams]
        args: list[Arg] = [self.group, self.consumer, self.token]
        for row, attempt, alone in wanted:
            noted: Arg = int(time.time() * 1000) if alone else ""
            args += (self._places[row.stream], row.id, sent_name(row.holder), row.count, attempt, noted)
        reply = self._owned((yield from script("take", keys, args)))
        return [_taken(row, found) for (row, *_), found in zip(wanted, reply, strict=True)]

    def defer(self, deliveries: Sequence[Delivery]) -> Flow[None]:
        """Lets entries that were not started wait in the pending list behind another one of their key."""
        for stream in self.streams:
            held = [delivery for delivery in deliveries if delivery.stream == stream]
            if held:
                yield from self._wait(held, BEHIND, RELEASE)

    def dead_letter(self, delivery: Delivery, outcome: Outcome) -> Flow[bool]:
        """As of any handler; the key of the entry is parked with it. False, too, if what it is behind has gone."""
        keys = [delivery.stream, self.keys.dead(self.group), self.keys.failures(self.group)]
        keys.append(self.keys.parked(self.group))
        # One that is gone cannot be tried again: nothing has to wait for it.
        key = "" if outcome.reason == "trimmed" else delivery.key
        args = [*self._letter(delivery, outcome), key, outcome.behind]
        return (yield from script("dead_letter", keys, args)) not in (None, b"free")

    def first_parked(self, wanted: Sequence[str]) -> Flow[list[Parked | None]]:
        """For each key the first entry that nothing may overtake."""
        keys = [self.keys.parked(self.group), self.keys.dead(self.group), *self.streams]
        found: list[bytes] = yield from script("first_parked", keys, [self.group, *wanted])
        return [_parked(key, member) if member else None for key, member in zip(wanted, found, strict=True)]

    def unpark(self, parked: Parked) -> Flow[None]:
        """Notes that an entry that had been a dead letter is settled."""
        yield from raw("ZREM", self.keys.parked(self.group), parked.member)

    def has_unread(self) -> Flow[bool]:
        """Whether there are entries that the group has not read."""
        for stream in self.streams:
            groups = [pairs(row) for row in (yield from raw("XINFO", "GROUPS", stream))]
            last = next(
                (group["last-delivered-id"] for group in groups if group["name"] == self.group.encode()), None
            )
            if last is None:
                raise GroupMissing(f"NOGROUP {self.group} on {stream}")
            if (yield from raw("XRANGE", stream, b"(" + last, "+", "COUNT", 1)):
                return True
        return False

    def _call(self) -> list[Arg]:
        # Numbered, since one that is late on its way must not deliver what nobody would then know of.
        self._number += 1
        return [self.group, self.consumer, self.token, self._number]

    def _owned(self, reply: list[Any] | None) -> list[Any]:
        if reply is None:
            raise OwnershipLost(self.group)
        return reply


def _taken(row: Row, found: list[Any]) -> Taken:
    match found:
        case [b"taken", fields]:
            return Taken(fields)
        case [b"deleted"]:
            return Taken([])
        case [b"other", holder, idle, count]:
            return Taken(None, Row(row.stream, row.id, given_name(holder), idle, count))
    return Taken(None)


def _parked(key: str, member: bytes) -> Parked:
    position, letter, _ = member[len(key.encode()) + 1 :].decode().split("\n", 2)
    return Parked(member, parse_id(position), "" if letter == "-" else letter)
