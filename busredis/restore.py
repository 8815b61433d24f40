"""Puts archived entries back into Redis, in a namespace of their own, to be looked at."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from busredis.cold import Archive
from busredis.commands import Arg, Flow, many, raw, scan
from busredis.errors import ArchiveError, ServerError
from busredis.keys import Keys, just_before
from busredis.partitions import learn

_PAGE = 500


class Range(NamedTuple):
    """What is put where: entries of one partition from the first of `bounds` up to the second, under their ids."""

    archive: Archive
    target: Keys
    bounds: tuple[str, str]


def restore_all(
    ranges: Sequence[Range],
    targets: Sequence[Keys],
    event_types: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Flow[dict[str, int]]:
    """Entries of each range in its partition of a new namespace, divided as the old one; how many of each type.

    Raises ArchiveError if the namespace is not empty. Histories of aggregates are not made: they would begin in the middle.
    """
    namespace = targets[0].namespace
    for keys in dict.fromkeys([Keys(namespace), *targets]):
        if (yield from scan(keys.everything)):
            raise ArchiveError(f"namespace {namespace!r} is not empty: name one with nothing in it")
    known = {name for one in ranges for name in one.archive.manifest(fresh=True).by_type}
    unknown = sorted(set(event_types or []) - known)
    if unknown:
        raise ArchiveError(
            f"the archive has no {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'nothing'}"
        )
    if len(targets) > 1:
        yield from learn(namespace, len(targets))
    found: dict[str, int] = {}
    for one in ranges:
        for event_type in sorted(event_types or known):
            count = yield from _restore(one, event_type, progress or (lambda _count: None))
            if count:
                found[event_type] = found.get(event_type, 0) + count
    return dict(sorted(found.items()))


def _restore(one: Range, event_type: str, progress: Callable[[int], None]) -> Flow[int]:
    stream, after, restored = one.target.stream(event_type), just_before(one.bounds[0]), 0
    while entries := one.archive.read(event_type, after, one.bounds[1], _PAGE):
        yield from _add(("XADD", stream, entry_id, *fields) for entry_id, fields in entries)
        restored += len(entries)
        after = entries[-1][0]
        progress(len(entries))
    if restored:
        yield from raw("SADD", one.target.types, event_type)
    return restored


def _add(commands: Iterable[tuple[Arg, ...]]) -> Flow[None]:
    for reply in (yield from many(list(commands))):
        if isinstance(reply, ServerError):
            raise reply
