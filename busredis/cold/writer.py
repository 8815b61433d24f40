"""Writing one file of an archive, row group by row group."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from busredis.cold.archive import Archive
from busredis.cold.extra import need
from busredis.cold.manifest import FileEntry, file_name
from busredis.cold.table import DICTIONARY, ENCODINGS, Entry, schema, to_batch
from busredis.errors import ArchiveDamaged
from busredis.keys import parse_id

#: Most rows, and about the most bytes of entries, in one row group: what a reader has in memory at least.
_ROWS = 20_000
_BYTES = 8 * 1_048_576
_LEVEL = 3


class FileWriter:
    """A file under way. It can be read, and is in the manifest, only after `enter`."""

    def __init__(self, archive: Archive, event_type: str, after: str, first_id: str) -> None:
        self.event_type = event_type
        self.after, self.first_id, self.last_id = after, first_id, first_id
        self.day = day_of(first_id)
        self.name = file_name(event_type, archive.owner.number, self.day, first_id)
        self.rows = self.entry_bytes = 0
        self._archive = archive
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._read = Fingerprint()

    @contextmanager
    def open(self) -> Iterator["FileWriter"]:
        """Writes what is added meanwhile. Raises ArchiveError; then there is no such file."""
        with self._archive.place.writing(self.name) as file:
            options = {
                "compression": "zstd",
                "compression_level": _LEVEL,
                "use_dictionary": list(DICTIONARY),
                "column_encoding": ENCODINGS,
                "store_schema": True,
            }
            self._parquet: Any = need("pyarrow.parquet").ParquetWriter(file, schema(), **options)
            yield self
            self._write_group()
            self._parquet.close()

    def add(self, entries: Sequence[Entry]) -> None:
        """The next entries of this type and day, in order."""
        self._read.add(entries)
        self._waiting += entries
        size = sum(len(field) for _, fields in entries for field in fields)
        self._waiting_bytes += size
        self.entry_bytes += size
        self.rows += len(entries)
        self.last_id = entries[-1][0]
        if len(self._waiting) >= _ROWS or self._waiting_bytes >= _BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._waiting:
            batch = to_batch(self.event_type, self._waiting)
            self._parquet.write_batch(batch, row_group_size=len(self._waiting))
        self._waiting, self._waiting_bytes = [], 0

    def checked(self) -> FileEntry:
        """The file as it lies there, once it has been read back and is what was read. Raises ArchiveDamaged."""
        size, sha256 = self._archive.place.digest(self.name)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ids = (self.after, self.first_id, self.last_id)
        where = (self.name, self.event_type, self._archive.owner.number, self.day)
        entry = FileEntry(*where, self.rows, *ids, size, sha256, now)
        found = Fingerprint()
        for entries in self._archive.scan(entry):
            found.add(entries)
        if found.rows != self.rows or found.digest() != self._read.digest():
            path = self._archive.place.path(self.name)
            raise ArchiveDamaged(
                f"{path}: reads back {found.rows:,} entries that are not the {self.rows:,} written"
            )
        return entry


class Fingerprint:
    """Of entries in their order, however they come in portions."""

    def __init__(self) -> None:
        self.rows = 0
        self._ids, self._sizes, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def add(self, entries: Sequence[Entry]) -> None:
        """The next entries."""
        parts = [part for _, fields in entries for part in fields]
        self.rows += len(entries)
        self._ids.update("".join([f"{entry_id} {len(fields)}\n" for entry_id, fields in entries]).encode())
        self._sizes.update("".join([f"{len(part)} " for part in parts]).encode())
        self._values.update(b"".join(parts))

    def digest(self) -> bytes:
        """The same only for the same entries."""
        return self._ids.digest() + self._sizes.digest() + self._values.digest()


def day_of(entry_id: str) -> str:
    """The day of an entry in UTC, by its id; the last that there is for what is beyond."""
    ms = min(parse_id(entry_id)[0], 253_402_300_799_000)
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()
