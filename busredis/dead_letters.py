"""Dead letters: list them, show one, hand one back to the group that gave it up, discard one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from busredis.commands import Arg, Flow, raw, scan, script
from busredis.errors import BusError
from busredis.keys import Keys, parse_id

_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
#: Letters read in one round trip.
_PAGE = 500
#: Letters that are retried or discarded together.
MOST = 1_000_000


class NoSuchLetter(BusError):
    """There is no dead letter of this id (any more)."""


class LetterTrimmed(NoSuchLetter):
    """The entry of this dead letter is no longer in its stream."""


@dataclass(frozen=True)
class DeadLetter:
    """One entry that a group gave up. Times are unix ms; `fields` are those of the entry, none if it was deleted."""

    id: str
    group: str
    event_type: str
    stream: str
    entry_id: str
    reason: str
    error: str
    traceback: str
    attempts: int
    first_failure: int
    last_failure: int
    consumer: str
    fields: dict[str, str]
    #: Of an ordered handler: in whose order it stands; the letters behind it wait for it.
    key: str = ""

    def member(self) -> str:
        """What stands for it in parked:<group>; dead_letter.lua writes it."""
        ms, seq = parse_id(self.entry_id)
        return f"{self.key}\n{ms:020}-{seq:020}\n{_raw_id(self.id)}\n{self.stream}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class DeadLetters:
    """The dead letters of all partitions of a namespace, as flows.

    With several partitions the id of a letter begins with the number of its partition: `3/1700000000000-0`.
    """

    def __init__(self, partitions: Sequence[Keys]) -> None:
        self._partitions = partitions

    def groups(self) -> Flow[list[str]]:
        """The groups that have any."""
        found: set[str] = set()
        for keys in self._partitions:
            prefix = keys.dead("")
            found.update(key.removeprefix(prefix) for key in (yield from scan(keys.every_dead)))
        return sorted(found)

    def list(
        self, group: str, *, limit: int = 100, matches: Callable[[DeadLetter], bool] | None = None
    ) -> Flow[list[DeadLetter]]:
        """The oldest `limit` letters of a group that match."""
        found: list[DeadLetter] = []
        for keys in self._partitions:
            found += yield from self._list(keys, group, limit, matches)
        return sorted(found, key=lambda letter: parse_id(_raw_id(letter.id)))[:limit]

    def _list(
        self, keys: Keys, group: str, limit: int, matches: Callable[[DeadLetter], bool] | None
    ) -> Flow[Sequence[DeadLetter]]:
        found: list[DeadLetter] = []
        start = "-"
        while len(found) < limit:
            page = yield from raw("XRANGE", keys.dead(group), start, "+", "COUNT", _PAGE)
            letters = [_letter(group, keys.shown(entry_id.decode()), fields) for entry_id, fields in page]
            found += [letter for letter in letters if matches is None or matches(letter)]
            if len(page) < _PAGE:
                break
            start = f"({page[-1][0].decode()}"
        return found[:limit]

    def _keys_of(self, letter_id: str) -> Keys:
        number, slash, _ = letter_id.partition("/")
        if not slash and len(self._partitions) == 1:
            return self._partitions[0]
        if not slash or not number.isdigit() or int(number) >= len(self._partitions):
            raise NoSuchLetter(
                f"{letter_id!r}: with {len(self._partitions)} partition(s) the id of a letter is "
                f"{'PARTITION/ID' if len(self._partitions) > 1 else 'an entry id'}, as 'dead ls' shows it"
            )
        return self._partitions[int(number)]

    def get(self, group: str, letter_id: str) -> Flow[DeadLetter]:
        """One letter. Raises NoSuchLetter."""
        page, raw_id, keys = [], _raw_id(letter_id), self._keys_of(letter_id)
        if _ID.fullmatch(raw_id):
            page = yield from raw("XRANGE", keys.dead(group), raw_id, raw_id)
        if not page:
            raise NoSuchLetter(
                f"group {group!r} has no dead letter {letter_id}: retried or discarded already?"
            )
        return _letter(group, letter_id, page[0][1])

    def retry(self, letter: DeadLetter) -> Flow[str]:
        """Hands the entry to its group again, to that group alone and with all its attempts; how it was done."""
        keys = self._keys_of(letter.id)
        args: list[Arg] = [letter.group, _raw_id(letter.id), letter.entry_id, letter.key]
        names = [letter.stream, keys.dead(letter.group), keys.parked(letter.group)]
        done = yield from script("retry_letter", names, args)
        if done == b"gone":
            raise NoSuchLetter(
                f"the dead letter {letter.id} of {letter.group!r} is gone: retried or discarded already?"
            )
        if done == b"trimmed":
            raise LetterTrimmed(
                f"entry {letter.entry_id} is no longer in {letter.stream}: the letter has its fields, publish them anew"
            )
        return "redelivered"

    def discard(self, letter: DeadLetter) -> Flow[bool]:
        """Removes a letter for good; whether it was there. Nothing of its key waits for it any more."""
        keys = self._keys_of(letter.id)
        removed = bool((yield from raw("XDEL", keys.dead(letter.group), _raw_id(letter.id))))
        if letter.key:
            yield from raw("ZREM", keys.parked(letter.group), letter.member())
        return removed


@dataclass(frozen=True)
class Retried:
    """The letters whose entries were handed over again, and those that cannot be, since their entry is gone."""

    done: list[DeadLetter]
    trimmed: list[DeadLetter]


def retry_all(partitions: Sequence[Keys], group: str, *, key: str | None = None) -> Flow[Retried]:
    """Hands all letters of a group, or those of one key, to it again, in the order of their entries.

    What is parked behind them meanwhile comes with them. None is handed over twice, so that this ends.
    """
    letters, result = DeadLetters(partitions), Retried([], [])
    tried: set[tuple[str, str]] = set()
    while True:
        found: list[DeadLetter] = yield from letters.list(
            group, limit=MOST, matches=lambda letter: key is None or letter.key == key
        )
        # In later rounds only what came behind in the first.
        fresh = [
            x for x in found if (x.stream, x.entry_id) not in tried and (not tried or x.reason == "behind")
        ]
        if not fresh:
            return result
        for letter in sorted(fresh, key=lambda letter: parse_id(letter.entry_id)):
            tried.add((letter.stream, letter.entry_id))
            try:
                yield from letters.retry(letter)
            except LetterTrimmed:
                result.trimmed.append(letter)
            except NoSuchLetter:
                continue  # retried or discarded by somebody else
            else:
                result.done.append(letter)


def _raw_id(letter_id: str) -> str:
    return letter_id.rpartition("/")[2]


def _letter(group: str, letter_id: str, fields: list[bytes]) -> DeadLetter:
    # The names of an entry's fields come from any program too.
    parts = [part.decode("utf-8", "backslashreplace") for part in fields]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    return DeadLetter(
        id=letter_id,
        group=group,
        event_type=found.get("event_type", ""),
        stream=found.get("stream", ""),
        entry_id=found.get("entry_id", ""),
        reason=found.get("reason", ""),
        error=found.get("error", ""),
        traceback=found.get("traceback", ""),
        attempts=_number(found.get("attempts", "")),
        first_failure=_number(found.get("first_failure", "")),
        last_failure=_number(found.get("last_failure", "")),
        consumer=found.get("consumer", ""),
        key=found.get("key", ""),
        fields={
            name.removeprefix("entry:"): value for name, value in found.items() if name.startswith("entry:")
        },
    )


def _number(text: str) -> int:
    """0 for what is none, or none that a time can be: a letter must be shown whoever wrote it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 15 else 0
