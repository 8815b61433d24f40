"""Where an archive lies: a folder of this machine, or any URL that fsspec knows. Files appear whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from busredis.cold.extra import need
from busredis.errors import ArchiveError

#: What a file is called until it is whole.
ASIDE = ".tmp"
_CHUNK = 1_048_576


class Place:
    """One folder. Paths are relative to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, root = need("fsspec.core").url_to_fs(url)
        except (ValueError, OSError, ImportError) as error:
            raise ArchiveError(f"{url}: no archive can be there: {error}") from error
        self._root = str(root).rstrip("/")
        self._is_local = "file" in _protocols(self._fs)

    def path(self, name: str) -> str:
        """The whole path of a file, for error messages and other programs."""
        return f"{self._root}/{name}"

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write, which has its name only once it is whole and on the disk; after an error it is not there.

        Raises ArchiveError with the path and how many bytes had been written.
        """
        path, written = self.path(name), 0
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._open(path + ASIDE) as file:
                try:
                    yield file
                finally:
                    with contextlib.suppress(OSError, ValueError):
                        written = file.tell()
                file.flush()
                if self._is_local:
                    os.fsync(file.fileno())
            self._rename(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._fs.rm_file(path + ASIDE)
            raise ArchiveError(f"{path}: not written, after {written:,} bytes: {error}") from error

    def _open(self, path: str) -> BinaryIO:
        return Path(path).open("wb") if self._is_local else cast("BinaryIO", self._fs.open(path, "wb"))

    def _rename(self, path: str) -> None:
        if not self._is_local:
            self._fs.mv(path + ASIDE, path)
            return
        Path(path + ASIDE).replace(path)
        # A new name is on the disk once its folders are: https://man7.org/linux/man-pages/man2/fsync.2.html.
        folder = Path(path).parent
        for one in (folder, *folder.parents):
            descriptor = os.open(one, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if str(one) == self._root:
                return

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file by one with this content, whole or not at all."""
        with self.writing(name) as file:
            file.write(content)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none. Raises ArchiveError."""
        try:
            return cast("bytes", self._fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArchiveError(f"{self.path(name)}: cannot be read: {error}") from error

    def open(self, name: str) -> BinaryIO:
        """A file to read from. Raises ArchiveError."""
        try:
            return cast("BinaryIO", self._fs.open(self.path(name), "rb"))
        except OSError as error:
            raise ArchiveError(f"{self.path(name)}: cannot be read: {error}") from error

    def digest(self, name: str) -> tuple[int, str]:
        """Size and SHA-256 of a file, as it is there. Raises ArchiveError."""
        size, found = 0, hashlib.sha256()
        with self.open(name) as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                found.update(chunk)
        return size, found.hexdigest()

    def names(self) -> list[str]:
        """Every file, sorted."""
        try:
            found = self._fs.find(self._root)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ArchiveError(f"{self.url}: cannot be listed: {error}") from error
        return sorted(str(path).removeprefix(f"{self._root}/") for path in found)

    def folders(self) -> list[str]:
        """The names of what lies directly in the folder, sorted."""
        try:
            found = self._fs.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ArchiveError(f"{self.url}: cannot be listed: {error}") from error
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def discard_aside(self) -> None:
        """Removes what an interrupted writing left."""
        for name in self.names():
            if name.endswith(ASIDE):
                self._fs.rm_file(self.path(name))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
