"""Removes old entries from type streams, never what a group still needs."""

from dataclasses import dataclass

from busredis.commands import Flow, raw, script
from busredis.keys import Keys, parse_id

#: Most entries, and about the most bytes, that one script call removes: while it runs, the server does nothing else.
_PAGE = 1_000
_PAGE_BYTES = 4 * 1_048_576


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
    page, removed = (yield from _page(keys, event_type)), 0
    while True:
        found = yield from _trim_page(keys, event_type, limits, page)
        removed += found.removed
        if found.removed < page:
            return Trimmed(removed, found.pinned_by)


def look(keys: Keys, event_type: str, limits: Limits) -> Flow[str]:
    """Why the oldest entry stays although it may go, "" if nothing is in the way; removes nothing."""
    return (yield from _trim_page(keys, event_type, limits, 0)).pinned_by


def _trim_page(keys: Keys, event_type: str, limits: Limits, most: int) -> Flow[Trimmed]:
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


def _page(keys: Keys, event_type: str) -> Flow[int]:
    stream = keys.stream(event_type)
    length = yield from raw("XLEN", stream)
    size = (yield from raw("MEMORY", "USAGE", stream)) or 0
    return max(1, min(_PAGE, _PAGE_BYTES * length // size)) if size else _PAGE
