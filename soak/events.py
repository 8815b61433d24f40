"""What is published, and how it is written down that it was."""

import uuid
from pathlib import Path

from busredis import DomainEvent

#: The lines are of one width, so that the size of a file tells how many there are.
WIDTH = 16


class Soaked(DomainEvent):
    number: int = 0
    text: str = ""


class Ledger:
    """One file of a process, written to before it goes on: what stands in it has happened."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._file = (folder / f"{kind}-{uuid.uuid4().hex}.txt").open("ab", buffering=0)

    def write(self, mark: str, numbers: list[int]) -> None:
        """`mark` is two characters."""
        self._file.write("".join(f"{mark} {number:012d}\n" for number in numbers).encode())


def lines(folder: Path, kind: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{kind}-*.txt")) // WIDTH


def read(folder: Path, kind: str) -> list[tuple[str, int]]:
    """All that was written; what a kill cut off has not happened."""
    texts = (path.read_text() for path in folder.glob(f"{kind}-*.txt"))
    return [
        (line[:2], int(line[3:])) for text in texts for line in text.split("\n") if len(line) == WIDTH - 1
    ]
