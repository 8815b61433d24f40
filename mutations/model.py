"""A mutant: the code, broken on purpose in one way, and the tests that must notice."""

from dataclasses import dataclass
from pathlib import Path

DELIVERY = "tests/integration/test_delivery.py::"
FAULTS = "tests/integration/test_faults.py::"
SUSPECTS = "tests/integration/test_suspects.py::"
PUBLISHER = "tests/integration/test_publisher.py::"
FENCES = "tests/integration/test_fences.py::"
BACKLOG = "tests/integration/test_backlog.py::"
PENDING = "tests/integration/test_pending_entries.py::"
REPLIES = "tests/integration/test_lost_replies.py::"
WAKING = "tests/partitions/test_waking.py::"


class Stale(Exception):
    """A mutant whose text is no longer in its file: it proves nothing until it is written anew."""


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which stands exactly once in the file, by `new`."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        """Raises Stale if the text is not there, or there more than once."""
        path = tree / self.file
        text = path.read_text()
        found = text.count(self.old)
        if found != 1:
            raise Stale(f"{self.file} has this text {found} times, not once:\n{self.old}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Mutant:
    """`edits` break what `name` says; each of `tests` (pytest ids) must fail because of it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
