"""The manifest of an archive: a line for each file, each with the SHA-256 of the line before it.

A namespace that is not divided has its archive in one folder. Of one that is divided, each partition has its own: files,
manifest and chain of hashes, in the folder `p<number>` of it.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from busredis.cold.place import Place
from busredis.errors import ArchiveDamaged, ArchiveError, RegistrationError
from busredis.events.fields import valid_type_name
from busredis.keys import parse_id

NAME = "manifest.jsonl"
FORMAT = 1
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose archive it is: that of a namespace which is not divided, or of one partition of `partitions`."""

    namespace: str
    partition: int | None = None
    partitions: int = 1

    @property
    def number(self) -> int:
        """As it stands in the names of files."""
        return self.partition or 0

    @property
    def folder(self) -> str:
        """Where it lies below the URL of the archive."""
        return self.namespace if self.partition is None else f"{self.namespace}/p{self.partition}"

    def header(self) -> dict[str, Any]:
        """The first line of the manifest."""
        found: dict[str, Any] = {"busredis_archive": FORMAT, "namespace": self.namespace}
        if self.partition is not None:
            found |= {"partition": self.partition, "partitions": self.partitions}
        return found

    def __str__(self) -> str:
        part = "" if self.partition is None else f", partition {self.partition} of {self.partitions}"
        return f"namespace {self.namespace!r}{part}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file with the entries of one type, partition and day (UTC, by entry id): all with ids above `after`, up to `last_id`."""

    path: str
    event_type: str
    partition: int
    day: str
    rows: int
    after: str
    first_id: str
    last_id: str
    bytes: int
    sha256: str
    written_at: str


class Manifest:
    """The files of an archive in the order in which they were written, and the head: the hash of the last line."""

    def __init__(self, owner: Owner, files: list[FileEntry], lines: list[bytes]) -> None:
        self.owner = owner
        self.files = files
        self._lines = lines
        self.by_type: dict[str, list[FileEntry]] = {}
        for file in files:
            self.by_type.setdefault(file.event_type, []).append(file)

    @classmethod
    def empty(cls, owner: Owner) -> "Manifest":
        return cls(owner, [], [orjson.dumps(owner.header())])

    @classmethod
    def read(cls, place: Place, owner: Owner) -> "Manifest":
        """What is there; empty if nothing is. Raises ArchiveDamaged for a broken chain, ArchiveError for another's."""
        raw = place.read(NAME)
        if raw is None:
            return cls.empty(owner)
        lines = raw.splitlines()
        found = _owner(place, lines)
        if found != owner:
            raise ArchiveError(f"{place.path(NAME)}: the archive of {found}, not of {owner}")
        found_files = []
        for number, line in enumerate(lines[1:], 2):
            document = _object(place, number, line)
            if document.pop("previous", None) != digest(lines[number - 2]):
                raise ArchiveDamaged(
                    f"{place.path(NAME)} line {number}: it does not follow the line before it"
                )
            found_files.append(_checked(place, number, document, owner))
        return cls(owner, found_files, lines)

    @property
    def head(self) -> str:
        """The hash of the last line: it stands for everything before it."""
        return digest(self._lines[-1])

    def heads(self) -> set[str]:
        """The hash of every line: what `head` was before."""
        return {digest(line) for line in self._lines}

    def last_id(self, event_type: str) -> str:
        """The last archived id of a type; 0-0 if there is none."""
        files = self.by_type.get(event_type)
        return files[-1].last_id if files else "0-0"

    def with_file(self, file: FileEntry) -> "Manifest":
        """This manifest and one more file."""
        line = orjson.dumps({**asdict(file), "previous": self.head})
        return Manifest(self.owner, [*self.files, file], [*self._lines, line])

    def write(self, place: Place) -> None:
        """Replaces the manifest that is there."""
        place.write(NAME, b"\n".join(self._lines) + b"\n")


def file_name(event_type: str, partition: int, day: str, first_id: str) -> str:
    """The one name of a file. Raises ArchiveError for a type that is no safe file name."""
    try:
        valid_type_name(event_type)
    except RegistrationError as error:
        raise ArchiveError(f"not archived: {error}") from None
    return f"{event_type}/{day}.p{partition}.{first_id}.parquet"


def find_owner(place: Place) -> Owner | None:
    """Whose manifest lies in a folder; None if there is none. Raises ArchiveError, ArchiveDamaged."""
    raw = place.read(NAME)
    return None if raw is None else _owner(place, raw.splitlines())


def _owner(place: Place, lines: list[bytes]) -> Owner:
    head = _object(place, 1, lines[0] if lines else b"")
    if head.get("busredis_archive") != FORMAT:
        raise ArchiveError(f"{place.path(NAME)}: no manifest of format {FORMAT}")
    number, count = head.get("partition"), head.get("partitions", 1)
    if not isinstance(count, int) or not isinstance(number, int | None):
        raise ArchiveDamaged(f"{place.path(NAME)} line 1: no number of a partition")
    return Owner(str(head.get("namespace")), number, count)


def digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _object(place: Place, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ArchiveDamaged(f"{place.path(NAME)} line {number}: {error}") from None
    if not isinstance(found, dict):
        raise ArchiveDamaged(f"{place.path(NAME)} line {number}: a JSON object is expected")
    return found


def _checked(place: Place, number: int, document: dict[str, Any], owner: Owner) -> FileEntry:
    """The entry in a line. Its path is the one that its other values make, so that it never leads out of the folder."""
    problem = "it does not describe a file"
    try:
        if document.keys() == {field.name for field in fields(FileEntry)}:
            file = FileEntry(**document)
            ids = [parse_id(one) for one in (file.after, file.first_id, file.last_id)]
            name = file_name(file.event_type, owner.number, file.day, file.first_id)
            if name == file.path and _DAY.fullmatch(file.day) and ids[0] < ids[1] <= ids[2]:
                return file
            problem = f"{file.path!r} is not the name of such a file"
    except (TypeError, ValueError, AttributeError, ArchiveError) as error:
        problem = str(error)
    raise ArchiveDamaged(f"{place.path(NAME)} line {number}: {problem}")
