"""How far the looks through the pending lists of a group have come, so that each goes on where the last one stopped."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from busredis.commands import Arg, given_name, sent_name

#: Rows that one look sees: of what waits, for each stream; of what any other consumer holds; of a stream in all.
PAGE, PAGE_OF_OTHERS, MOST_ROWS = 200, 50, 1_000


@dataclass(slots=True)
class _Place:
    """In one stream: which of the consumers has its turn first, and where to go on with those that have more."""

    first: int = 0
    starts: dict[str, str] = field(default_factory=dict)


class Looks:
    """What sweep.lua is told of the looks before it, and says about the next."""

    def __init__(self) -> None:
        self._places: defaultdict[str, _Place] = defaultdict(_Place)

    def args(self, streams: Sequence[str], *, others: bool) -> list[Arg]:
        """How much to look at, and where; without `others` only at what waits."""
        found: list[Arg] = [PAGE, PAGE_OF_OTHERS if others else 0, MOST_ROWS]
        for stream in streams:
            place = self._places[stream]
            found += (place.first, len(place.starts))
            found += [part for name, start in place.starts.items() for part in (sent_name(name), start)]
        return found

    def note(self, stream: str, first: int, starts: Sequence[bytes]) -> None:
        """What a look says of the next: whose turn it is, and names of consumers, each with where to go on."""
        names, places = map(given_name, starts[::2]), (start.decode() for start in starts[1::2])
        self._places[stream] = _Place(first, dict(zip(names, places, strict=True)))

    def go_on_at(self, stream: str, holder: str, entry_id: str) -> None:
        """Lets the next look begin with this entry of a consumer."""
        self._places[stream].starts[holder] = entry_id
