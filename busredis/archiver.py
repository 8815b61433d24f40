"""Moves old entries from Redis to cold storage: write, read back, enter in the manifest, and only then trim.

Killed anywhere and run again, it loses nothing and doubles nothing: what the manifest names is archived, what Redis has
trimmed is read from there, and a run begins with what the one before it left undone.
"""

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

from busredis.client import Client
from busredis.cold import Archive
from busredis.cold.table import Entry
from busredis.cold.writer import FileWriter, day_of
from busredis.commands import raw, scan, script
from busredis.errors import ArchiveDamaged, ArchiveError
from busredis.keys import Keys, just_after, just_before, parse_id
from busredis.partitions import Tries
from busredis.retention import Limits, trim

#: How long an archive run may be silent before another may begin.
_LEASE_MS = 60_000
#: About the most bytes that one XRANGE returns, and the most entries.
_PAGE_BYTES = 4 * 1_048_576
_PAGE = 2_000
#: Tells this process from one with its number that died, as in a container that was started again.
_PROCESS = uuid.uuid4().hex[:12]


@dataclass
class Archived:
    """What became of one event type. Bytes are of entries (`hot`) and of files (`cold`)."""

    event_type: str
    entries: int = 0
    hot_bytes: int = 0
    files: list[str] = field(default_factory=list)
    cold_bytes: int = 0
    trimmed: int = 0
    #: Why archived entries stay in Redis: see retention.Trimmed.
    pinned_by: str = ""


class Archiver:
    """Archives entries of one partition with ids below `before`. `progress` is told how many entries were read, in all."""

    def __init__(
        self,
        client: Client,
        keys: Keys,
        archive: Archive,
        before: str,
        *,
        trim: bool = True,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        if (archive.owner.namespace, archive.owner.partition) != (keys.namespace, keys.partition):
            raise ArchiveError(f"{archive.place.url} is the archive of {archive.owner}, not of {keys.tag}")
        self.keys = keys
        self._client, self._archive = client, archive
        self._upto = just_before(before)
        self._trim = trim
        self._progress = progress or (lambda _event_type, _count: None)
        self._name = f"{socket.gethostname()} {os.getpid()} {_PROCESS}-{uuid.uuid4().hex[:6]}"

    def run(self) -> list[Archived]:
        """Archives every type. Raises ArchiveError, with all before it done and all behind it untouched."""
        with self._alone():
            self._archive.place.discard_aside()
            self._check_head()
            self._begin()
            results, problems = [], []
            for event_type in self.types():
                try:
                    results.append(self._archive_type(event_type))
                except _Unsafe as error:
                    problems.append(str(error))
        if problems:
            raise ArchiveError("; ".join(problems))
        return results

    def look(self) -> list[Archived]:
        """What run() would archive; writes nothing."""
        results = []
        for event_type in self.types():
            result = Archived(event_type)
            for page in self._pages(event_type, self._start(event_type)):
                result.entries += len(page)
                result.hot_bytes += sum(len(part) for _, fields in page for part in fields)
            results.append(result)
        return results

    def types(self) -> list[str]:
        """The event types that have a stream."""
        return [self.keys.event_type(key) for key in self._client.run(scan(self.keys.every_stream))]

    def _start(self, event_type: str) -> str:
        """What was archived or trimmed already ends here."""
        return max(self._archive.manifest().last_id(event_type), self._trimmed(event_type), key=parse_id)

    def _trimmed(self, event_type: str) -> str:
        found = self._client.run(raw("HGET", self.keys.trimmed, event_type).__iter__())
        return found.decode() if found else "0-0"

    def _archive_type(self, event_type: str) -> Archived:
        result = Archived(event_type)
        if self._trim:
            self._finish(result)
        after = self._start(event_type)
        pages = (page for whole in self._pages(event_type, after) for page in _by_day(whole))
        for day, of_day in groupby(pages, key=lambda page: day_of(page[0][0])):
            after = self._archive_day(result, after, day, of_day)
        return result

    def _archive_day(self, result: Archived, after: str, day: str, pages: Iterator[list[Entry]]) -> str:
        first = next(pages)
        try:
            writer = FileWriter(self._archive, result.event_type, after, first[0][0])
        except ArchiveError as error:
            raise _Unsafe(f"{self.keys.stream(result.event_type)} ({day}): {error}") from None
        with writer.open():
            writer.add(first)
            for page in pages:
                writer.add(page)
                self._renew()
        file = writer.checked()
        # From here on it is archived: what is trimmed is in the manifest of this very archive.
        self._renew()
        manifest = self._archive.manifest(fresh=True).with_file(file)
        manifest.write(self._archive.place)
        self._archive.manifest(fresh=True)
        self._note_head()
        result.entries += file.rows
        result.hot_bytes += writer.entry_bytes
        result.files.append(self._archive.place.path(file.path))
        result.cold_bytes += file.bytes
        if self._trim:
            self._trim_upto(result, file.last_id)
        return file.last_id

    def _finish(self, result: Archived) -> None:
        """Trims what a run before this one archived and did not trim, once it is seen to be the same."""
        trimmed, last = self._trimmed(result.event_type), self._archive.manifest().last_id(result.event_type)
        if parse_id(last) <= parse_id(trimmed):
            return
        after = trimmed
        for page in self._pages(result.event_type, trimmed, last):
            upto = page[-1][0]
            known = dict(self._archive.read(result.event_type, after, upto))
            for entry_id, fields in page:
                if known.get(entry_id) != fields:
                    what = "another one under that id" if entry_id in known else "none"
                    raise ArchiveDamaged(
                        f"{result.event_type} {entry_id} is in Redis, and the archive at {self._archive.place.url} has "
                        f"{what}: nothing was trimmed; is it the archive of another server?"
                    )
            after = upto
            self._renew()
        self._trim_upto(result, last)

    def _trim_upto(self, result: Archived, last: str) -> None:
        limits = Limits(just_after(last), spare_aggregates=False)
        found = self._client.run(trim(self.keys, result.event_type, limits))
        result.trimmed += found.removed
        result.pinned_by = found.pinned_by

    def _pages(self, event_type: str, after: str, upto: str = "") -> Iterator[list[Entry]]:
        """Entries in pages; while one is worked on, the next is on its way."""
        stream, count = self.keys.stream(event_type), 50
        last = upto or self._upto

        def fetch(after: str, count: int) -> list[tuple[bytes, list[bytes]]]:
            found = self._client.run(raw("XRANGE", stream, f"({after}", last, "COUNT", count).__iter__())
            return found or []

        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(fetch, after, count)
            while reply := coming.result():
                page = [(entry_id.decode(), fields) for entry_id, fields in reply]
                is_last = len(page) < count
                if not is_last:
                    size = max(1, sum(len(part) for _, fields in page for part in fields) // len(page))
                    count = max(1, min(_PAGE, _PAGE_BYTES // size))
                    coming = ahead.submit(fetch, page[-1][0], count)
                yield page
                self._progress(event_type, len(page))
                if is_last:
                    return

    def _check_head(self) -> None:
        """Raises ArchiveDamaged if this is not the archive that the bus wrote last."""
        noted = noted_head(self._client, self.keys)
        if noted is not None and noted[0] not in self._archive.manifest(fresh=True).heads():
            raise ArchiveDamaged(
                f"{self._archive.place.url} is not the archive of this bus as it was written last, which was at "
                f"{noted[1]}: bring that one here, whole; nothing was archived"
            )

    def _begin(self) -> None:
        """Of a partition there is a manifest from the first run on, so that one that is lost is missed."""
        if self._archive.owner.partition is not None and not self._archive.is_there():
            self._archive.manifest(fresh=True).write(self._archive.place)
            self._note_head()

    def _note_head(self) -> None:
        head = self._archive.manifest().head
        command = raw("HSET", self.keys.archive, "head", head, "url", self._archive.place.url)
        self._client.run(command.__iter__())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._renew()
        try:
            yield
        finally:
            self._client.run(script("task", [self.keys.lease("archive")], [self._name, 0, ""]))

    def _renew(self) -> None:
        """Raises ArchiveError if another run has begun. One that died on this machine is not waited for."""
        lease, dead = [self.keys.lease("archive")], ""
        for _ in range(2):
            holder = self._client.run(script("task", lease, [self._name, _LEASE_MS, dead])).decode()
            if holder == self._name:
                return
            if _is_alive(holder):
                break
            dead = holder
        host, pid, _ = holder.split(" ")
        raise ArchiveError(
            f"another archive run is under way, process {pid} on {host}; nothing was lost, run it later"
        )


def archive_each(archivers: Sequence[Archiver]) -> list[Archived]:
    """Runs one archiver a partition; what became of each type. Raises PartlyDone, of a single one its error."""
    tries = Tries[list[Archived]]([archiver.keys for archiver in archivers])
    by_keys = {archiver.keys: archiver for archiver in archivers}
    for keys in tries.left():
        with tries.at(keys):
            tries.done(keys, by_keys[keys].run())
    return joined(tries.end())


def joined(parts: Iterable[list[Archived]]) -> list[Archived]:
    """What became of each type, in all partitions together."""
    found: dict[str, Archived] = {}
    for one in (one for part in parts for one in part):
        known = found.setdefault(one.event_type, Archived(one.event_type))
        known.entries += one.entries
        known.hot_bytes += one.hot_bytes
        known.files += one.files
        known.cold_bytes += one.cold_bytes
        known.trimmed += one.trimmed
        known.pinned_by = known.pinned_by or one.pinned_by
    return [found[name] for name in sorted(found)]


class _Unsafe(ArchiveError):
    """A stream whose type is no file name: it is left out and named at the end."""


def noted_head(client: Client, keys: Keys) -> tuple[str, str] | None:
    """The head of the manifest and the URL of the archive as the bus noted them last."""
    head, url = client.run(raw("HMGET", keys.archive, "head", "url").__iter__())
    return (head.decode(), url.decode()) if head and url else None


def _by_day(page: list[Entry]) -> Iterator[list[Entry]]:
    if day_of(page[0][0]) == day_of(page[-1][0]):
        yield page
        return
    for _, entries in groupby(page, key=lambda entry: day_of(entry[0])):
        yield list(entries)


def _is_alive(holder: str) -> bool:
    host, pid, process = holder.split(" ")
    if host != socket.gethostname():
        return True
    if int(pid) == os.getpid():
        return process.startswith(_PROCESS)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
