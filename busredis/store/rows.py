"""A page of a history as the server gave it: events that are no longer in their stream have a place and no JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from busredis.codec import FIELD
from busredis.store.model import Page
from busredis.store.operations import Load


@dataclass(slots=True)
class Rows:
    """`parts` has for each event three: type, entry id, JSON or None."""

    load: Load
    page: Page
    parts: list[Any]

    def missing(self) -> dict[str, list[str]]:
        """The ids of the events without JSON, by type."""
        found: dict[str, list[str]] = {}
        for index in range(2, len(self.parts), 3):
            if self.parts[index] is None:
                found.setdefault(self.parts[index - 2].decode(), []).append(self.parts[index - 1].decode())
        return found

    def fill(self, known: Mapping[tuple[str, str], list[bytes]]) -> None:
        """Puts in what is known: the fields of entries by type and id."""
        for index in range(2, len(self.parts), 3):
            if self.parts[index] is None:
                fields = known.get((self.parts[index - 2].decode(), self.parts[index - 1].decode()), [])
                if FIELD in fields[::2]:
                    self.parts[index] = fields[fields[::2].index(FIELD) * 2 + 1]
