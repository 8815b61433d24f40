"""Many events as appends, each for one partition, and what came of them in the order of the events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from busredis.append import Appender, Record
from busredis.errors import PublishError
from busredis.events import DomainEvent
from busredis.partitions import partition_of, place_of


@dataclass(frozen=True, slots=True)
class Piece:
    """One append: records of one partition, and where they stand among all."""

    partition: int
    batch: Sequence[Record]
    indexes: Sequence[int]


class Pieces:
    """The appends for `events`, in order within each partition; `ids` fills up as they are made."""

    def __init__(
        self, appenders: Sequence[Appender], events: Sequence[DomainEvent], records: Sequence[Record]
    ) -> None:
        self._is_divided = len(appenders) > 1
        self.ids = [""] * len(records)
        self.pieces: list[Piece] = []
        parts: Mapping[int, Sequence[int]] = {0: range(len(records))}
        if self._is_divided:
            parts = _divided(events, len(appenders))
        for partition, indexes in parts.items():
            own = [records[index] for index in indexes] if self._is_divided else records
            done = 0
            for batch in appenders[partition].pieces(own):
                self.pieces.append(Piece(partition, batch, indexes[done : done + len(batch)]))
                done += len(batch)

    def confirm(self, piece: Piece, ids: Sequence[str]) -> None:
        if isinstance(piece.indexes, range):
            self.ids[piece.indexes.start : piece.indexes.stop] = ids
            return
        for index, entry_id in zip(piece.indexes, ids, strict=True):
            self.ids[index] = entry_id

    def failed(self, error: PublishError) -> PublishError:
        """`error` with what was confirmed all the same."""
        error.confirmed = self.ids if self._is_divided else [entry_id for entry_id in self.ids if entry_id]
        return error


def _divided(events: Sequence[DomainEvent], count: int) -> dict[int, list[int]]:
    """Where the events of each partition stand among all."""
    found: dict[int, list[int]] = {}
    for index, event in enumerate(events):
        found.setdefault(partition_of(place_of(event), count), []).append(index)
    return found
