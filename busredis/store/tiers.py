"""Reading what was archived: the operations of a store, with the archive behind Redis.

What was trimmed is read from the archive and all else from Redis, so that an entry which is in both comes once.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from busredis.cold import Archive, Archives
from busredis.errors import PositionGone, VersionConflict
from busredis.keys import parse_id
from busredis.settings import Settings
from busredis.store.commits import stored
from busredis.store.model import Appended, Page
from busredis.store.operations import Append, Blocking, Entry, Load, LoadRows, Operation, ReadStreams, Steps
from busredis.store.recorder import Recorder
from busredis.store.rows import Rows


def find_archives(settings: Settings) -> Archives | None:
    """What these settings say is archived, if they name a place."""
    return Archives(settings.archive, settings.namespace) if settings.archive else None


def through(archives: Archives, recorder: Recorder, operation: Operation) -> Steps[Any]:
    """`operation`, as the steps that it takes with an archive: that of the partition which it is about."""
    parts = recorder.partitions
    match operation:
        case Load():
            archive = archives.of(recorder.keys_of(operation.aggregate), len(parts))
            return (yield from _load(archive, recorder, operation))
        case ReadStreams():
            archive = archives.of(parts[operation.partition], len(parts))
            return (yield from _read_streams(archive, operation))
        case Append():
            return (yield from _append(archives, recorder, operation))
    return (yield operation)


def _append(archives: Archives, recorder: Recorder, append: Append) -> Steps[list[Appended]]:
    try:
        done: list[Appended] = yield append
    except VersionConflict:
        # As after an append whose answer was lost, when its events were archived since.
        found = []
        for commit in append.commits:
            positions = yield from stored(partial(through, archives, recorder), commit)
            if positions is None:
                raise
            found.append(Appended(commit.expected_version + len(positions), positions))
        return found
    return done


def _load(archive: Archive, recorder: Recorder, load: Load) -> Steps[Page]:
    rows: Rows = yield LoadRows(load)
    missing = rows.missing()
    if missing:
        rows.fill((yield Blocking(partial(_fetch, archive, missing))))
    return recorder.page(rows)


def _fetch(archive: Archive, missing: dict[str, list[str]]) -> dict[tuple[str, str], list[bytes]]:
    return {
        (event_type, entry_id): fields
        for event_type, ids in missing.items()
        for entry_id, fields in archive.fetch(event_type, ids).items()
    }


def _read_streams(archive: Archive, read: ReadStreams) -> Steps[dict[str, list[Entry]]]:
    """Each type from Redis, or, from where it was trimmed, from the archive and then from Redis."""
    after, cold = dict(read.after), dict[str, list[Entry]]()
    full: set[str] = set()
    while True:
        left = {name: position for name, position in after.items() if name not in full}
        try:
            found = (yield replace(read, after=left)) if left else {}
        except PositionGone as gone:
            name, upto = gone.event_type, min(gone.first, read.upto, key=parse_id)
            entries = yield Blocking(partial(_cold, archive, gone, after[name], upto, read.count))
            cold.setdefault(name, []).extend(entries)
            after[name] = upto
            if len(entries) >= read.count or parse_id(upto) >= parse_id(read.upto):
                full.add(name)
            continue
        return {name: (cold.get(name, []) + found.get(name, []))[: read.count] for name in after}


def _cold(archive: Archive, gone: PositionGone, after: str, upto: str, count: int) -> list[Entry]:
    gap = archive.covers(gone.event_type, after, upto)
    if gap is not None:
        raise PositionGone(gone.event_type, after, gap)
    return archive.read(gone.event_type, after, upto, count)
