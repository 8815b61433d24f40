"""Reading an archive: ranges and single entries, as they were in Redis."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from busredis.cold.extra import need
from busredis.cold.manifest import NAME, FileEntry, Manifest, Owner
from busredis.cold.place import Place
from busredis.cold.table import Entry, to_entries
from busredis.errors import ArchiveDamaged
from busredis.keys import parse_id

#: Row groups that are kept as they were read, a few MB each, however large: the pages of a reading follow one another.
_KEPT = 6
#: More are kept as long as all together are not larger: readers of several partitions take turns.
_KEPT_BYTES = 64 * 1_048_576


class Kept:
    """Row groups that were read last, for all partitions together."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> Any:
        """A row group by the hash of its file and its place in it; None if it has to be read."""
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
            return self._groups.get(key)

    def put(self, key: tuple[str, int], group: Any) -> None:
        with self._lock:
            self._groups[key] = group
            self._bytes += group.nbytes
            while len(self._groups) > _KEPT and self._bytes > _KEPT_BYTES:
                self._bytes -= self._groups.popitem(last=False)[1].nbytes


class Archive:
    """The archive of a namespace, or of one of its partitions, at a URL.

    Safe to use from several threads; reads what the manifest names, nothing else.
    """

    def __init__(self, url: str, owner: Owner | str, kept: Kept | None = None) -> None:
        self.owner = Owner(owner) if isinstance(owner, str) else owner
        self.place = Place(f"{url.rstrip('/')}/{self.owner.folder}")
        self._manifest: Manifest | None = None
        self._kept = kept or Kept()
        self._shapes: dict[str, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    @property
    def namespace(self) -> str:
        return self.owner.namespace

    def is_there(self) -> bool:
        """Whether anything was ever archived here. Raises ArchiveError."""
        return self.place.read(NAME) is not None

    def manifest(self, *, fresh: bool = False) -> Manifest:
        """What there is. Raises ArchiveError, ArchiveDamaged."""
        if self._manifest is None or fresh:
            self._manifest = Manifest.read(self.place, self.owner)
        return self._manifest

    def covers(self, event_type: str, after: str, upto: str) -> str | None:
        """None if the archive has every entry of the range; else the id up to which some are missing."""
        if not self._reaches(event_type, upto):
            return upto
        gap, reached = None, "0-0"
        for file in self.manifest().by_type.get(event_type, []):
            if (
                file.after != reached
                and parse_id(file.after) > parse_id(after)
                and parse_id(reached) < parse_id(upto)
            ):
                gap = file.after
            reached = file.last_id
        return gap

    def _reaches(self, event_type: str, upto: str) -> bool:
        wanted = parse_id(upto)
        return any(
            parse_id(self.manifest(fresh=fresh).last_id(event_type)) >= wanted for fresh in (False, True)
        )

    def read(self, event_type: str, after: str, upto: str, count: int | None = None) -> list[Entry]:
        """The first `count` entries of a type above a position, up to one."""
        found: list[Entry] = []
        low, high = parse_id(after), parse_id(upto)
        for file in self.manifest().by_type.get(event_type, []):
            if parse_id(file.last_id) <= low or parse_id(file.first_id) > high:
                continue
            for table in self._tables(file, low[0], high[0]):
                wanted = None if count is None else count - len(found)
                found += to_entries(_between(table, low, high, wanted))
                if count is not None and len(found) >= count:
                    return found
        return found

    def fetch(self, event_type: str, ids: Iterable[str]) -> dict[str, list[bytes]]:
        """The fields of these entries, of as many as there are."""
        pa, pc = need("pyarrow"), need("pyarrow.compute")
        left = sorted(set(ids), key=parse_id)
        if left and not self._reaches(event_type, left[-1]):
            left = [one for one in left if parse_id(one) <= parse_id(self.manifest().last_id(event_type))]
        found: dict[str, list[bytes]] = {}
        for file in self.manifest().by_type.get(event_type, []):
            first, last = parse_id(file.first_id), parse_id(file.last_id)
            here = [one for one in left if first <= parse_id(one) <= last]
            if not here:
                continue
            wanted = pa.array(here, pa.string())
            for table in self._tables(file, parse_id(here[0])[0], parse_id(here[-1])[0]):
                found.update(to_entries(table.filter(pc.is_in(table["entry_id"], value_set=wanted))))
        return found

    def scan(self, file: FileEntry) -> Iterator[list[Entry]]:
        """Every entry of a file, a row group at a time. Raises ArchiveDamaged."""
        with self.place.open(file.path) as source:
            try:
                parquet = need("pyarrow.parquet").ParquetFile(source)
                for index in range(parquet.metadata.num_row_groups):
                    yield to_entries(parquet.read_row_group(index))
            except (need("pyarrow").ArrowException, OSError, KeyError) as error:
                raise self._damaged(file, error) from error

    def _tables(self, file: FileEntry, low: int, high: int) -> Iterator[Any]:
        """The row groups that may have ids with these milliseconds."""
        for index, (first, last) in enumerate(self._shape(file)):
            if first <= high and last >= low:
                yield self._group(file, index)

    def _shape(self, file: FileEntry) -> list[tuple[int, int]]:
        if file.sha256 not in self._shapes:
            self._shapes[file.sha256] = self._open(file, None)
        return self._shapes[file.sha256]

    def _group(self, file: FileEntry, index: int) -> Any:
        # One thread reads for all who want the same.
        with self._lock:
            key = (file.sha256, index)
            found = self._kept.get(key)
            if found is None:
                found = self._open(file, index)
                self._kept.put(key, found)
            return found

    def _open(self, file: FileEntry, index: int | None) -> Any:
        """One row group, or, without an index, the first and last millisecond of each."""
        with self.place.open(file.path) as source:
            try:
                parquet = need("pyarrow.parquet").ParquetFile(source)
                if index is not None:
                    return parquet.read_row_group(index)
                column = parquet.schema_arrow.get_field_index("ms")
                groups = [parquet.metadata.row_group(n) for n in range(parquet.metadata.num_row_groups)]
                bounds = [group.column(column).statistics for group in groups]
                return [(bound.min, bound.max) for bound in bounds]
            except (need("pyarrow").ArrowException, OSError, KeyError, AttributeError) as error:
                raise self._damaged(file, error) from error

    def _damaged(self, file: FileEntry, error: Exception) -> ArchiveDamaged:
        return ArchiveDamaged(
            f"{self.place.path(file.path)}: cannot be read: {error}; see busredis archive verify"
        )


def _between(table: Any, low: tuple[int, int], high: tuple[int, int], count: int | None) -> Any:
    """The rows above `low`, up to `high`; rows lie in the order of their ids."""
    start, end = _rows_upto(table, low), _rows_upto(table, high)
    if count is not None:
        end = min(end, start + count)
    return table.slice(start, max(0, end - start))


def _rows_upto(table: Any, bound: tuple[int, int]) -> int:
    """How many rows have ids up to `bound`, found by halving."""
    ms, seq = table["ms"], table["seq"]
    low, high = 0, table.num_rows
    while low < high:
        middle = (low + high) // 2
        if (ms[middle].as_py(), seq[middle].as_py()) <= bound:
            low = middle + 1
        else:
            high = middle
    return low
