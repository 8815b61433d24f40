"""Whether an archive is what was written: every file there, unchanged, in its place; nothing cut off."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from busredis.cold.archive import Archive
from busredis.cold.manifest import NAME, FileEntry
from busredis.cold.place import ASIDE, Place
from busredis.errors import ArchiveDamaged, ArchiveError
from busredis.keys import parse_id


@dataclass
class Verification:
    """What was found. `strays`: files that the manifest does not name, as an interrupted run leaves one."""

    files: int = 0
    rows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def add(self, other: "Verification", folder: str) -> None:
        """What was found in one partition, whose files lie in a folder."""
        self.files += other.files
        self.rows += other.rows
        self.bytes += other.bytes
        self.problems += other.problems
        self.strays += [f"{folder}{name}" for name in other.strays]


def verify_all(
    archives: Sequence[Archive],
    place: Place,
    heads: Mapping[int, str],
    done: Callable[[FileEntry], None] | None = None,
) -> Verification:
    """As verify(), for the archives of all partitions in one place; `heads` has what each of them noted."""
    found = Verification()
    if len(archives) == 1:
        return verify(archives[0], head=heads.get(0), done=done)
    lacking = [archive for archive in archives if not archive.is_there()]
    for archive in archives:
        number = archive.owner.number
        if archive in lacking:
            if number in heads or len(lacking) < len(archives):
                found.problems.append(
                    f"{archive.place.path(NAME)}: is not there: it was lost, or the first run ended before partition {number}, "
                    "and the next writes it"
                )
            continue
        try:
            found.add(verify(archive, head=heads.get(number), done=done), f"p{number}/")
        except ArchiveError as error:  # the manifest of another partition, or none that can be read
            found.problems.append(str(error))
    own = tuple(f"p{archive.owner.number}/" for archive in archives)
    found.strays += [name for name in place.names() if not name.startswith(own)]
    return found


def verify(
    archive: Archive, *, head: str | None = None, done: Callable[[FileEntry], None] | None = None
) -> Verification:
    """Reads every file. With `head`, what the bus noted of the manifest: an end that is cut off is found too."""
    found = Verification()
    try:
        manifest = archive.manifest(fresh=True)
    except ArchiveDamaged as error:
        found.problems.append(str(error))
        return found
    if head is not None and head not in manifest.heads():
        found.problems.append(
            f"{archive.place.path(NAME)}: lines are missing at its end: the bus has noted {head[:12]}..., which is not in it"
        )
    reached: dict[str, str] = {}
    for file in manifest.files:
        try:
            _check(archive, file, reached.get(file.event_type, "0-0"))
        except ArchiveError as error:
            found.problems.append(str(error))
        reached[file.event_type] = file.last_id
        found.files += 1
        found.rows += file.rows
        found.bytes += file.bytes
        if done is not None:
            done(file)
    known = {NAME, *(file.path for file in manifest.files)}
    found.strays = [name for name in archive.place.names() if name not in known and not name.endswith(ASIDE)]
    return found


def _check(archive: Archive, file: FileEntry, reached: str) -> None:
    path = archive.place.path(file.path)
    if parse_id(file.after) < parse_id(reached):
        raise ArchiveDamaged(f"{path}: begins after {file.after}, but {reached} was archived before it")
    size, sha256 = archive.place.digest(file.path)
    if (size, sha256) != (file.bytes, file.sha256):
        raise ArchiveDamaged(
            f"{path}: changed: {size:,} bytes with SHA-256 {sha256[:12]}..., "
            f"written were {file.bytes:,} with {file.sha256[:12]}..."
        )
    rows, last = 0, file.after
    for entry_id in _ids(archive, file):
        if parse_id(entry_id) <= parse_id(last):
            raise ArchiveDamaged(f"{path}: entry {entry_id} follows {last}")
        rows, last = rows + 1, entry_id
    if (rows, last) != (file.rows, file.last_id):
        raise ArchiveDamaged(
            f"{path}: {rows:,} entries up to {last}, written were {file.rows:,} to {file.last_id}"
        )


def _ids(archive: Archive, file: FileEntry) -> Iterator[str]:
    for entries in archive.scan(file):
        for entry_id, _ in entries:
            yield entry_id
