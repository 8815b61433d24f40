"""Puts archived entries back into Redis, in a namespace of their own, to be looked at."""

from collections.abc import Callable, Sequence

from busredis.cold import Archive
from busredis.commands import Arg, Flow, many, raw, scan
from busredis.errors import ArchiveError, ServerError
from busredis.keys import Keys, just_before

_PAGE = 500


def restore(
    archive: Archive,
    target: Keys,
    bounds: tuple[str, str],
    event_types: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Flow[dict[str, int]]:
    """Entries from the first of `bounds` up to the second, under their ids; how many of each type.

    Raises ArchiveError if the namespace is not empty. Histories of aggregates are not made: they would begin in the middle.
    """
    if (yield from scan(target.everything)):
        raise ArchiveError(f"namespace {target.namespace!r} is not empty: name one with nothing in it")
    found: dict[str, int] = {}
    types = archive.manifest(fresh=True).by_type
    unknown = sorted(set(event_types or []) - set(types))
    if unknown:
        raise ArchiveError(
            f"the archive has no {', '.join(unknown)}; it has {', '.join(sorted(types)) or 'nothing'}"
        )
    for event_type in sorted(event_types or types):
        after = just_before(bounds[0])
        while entries := archive.read(event_type, after, bounds[1], _PAGE):
            stream = target.stream(event_type)
            commands: list[tuple[Arg, ...]] = [
                ("XADD", stream, entry_id, *fields) for entry_id, fields in entries
            ]
            for reply in (yield from many(commands)):
                if isinstance(reply, ServerError):
                    raise reply
            found[event_type] = found.get(event_type, 0) + len(entries)
            after = entries[-1][0]
            if progress is not None:
                progress(len(entries))
        if event_type in found:
            yield from raw("SADD", target.types, event_type)
    return found
