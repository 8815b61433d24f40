"""All events of a partition in one order: the streams of their types, merged by position."""

import heapq
from collections import deque
from collections.abc import Iterable

from busredis.codec import Codec
from busredis.events import registry
from busredis.keys import parse_id
from busredis.store.model import StoredEvent, valid_position
from busredis.store.operations import (
    PAGE,
    AwaitEntries,
    Entry,
    FindHorizon,
    FindTypes,
    Horizon,
    ReadStreams,
    Steps,
)

BEGINNING = "0-0"
#: How long a feed that follows waits for entries before it asks which types there are.
WAIT = 0.5
#: So many waits without an entry, and it looks for streams that other programs have begun.
_LOOK = 20


def _known(found: Horizon) -> set[str]:
    # A class that this program has may be begun by another program, whose XADD tells nobody of it.
    return {*found.types, *(cls.type_name for cls in registry)}


class Feed:
    """Where one reader is. Each `page()` has the events that follow, in the order of their positions.

    What an append wrote is never skipped and never out of order: nothing is read above the horizon, up to which all
    streams are complete. Entries of other programs' `XADD *` are in order too, as long as the server's clock does not
    step back. A type that only other programs write, and that this program has no class for, is looked for every few
    seconds, and its entries come once it is found: as an error, which names it.
    """

    def __init__(
        self,
        codec: Codec,
        after: str,
        *,
        upto: str | None,
        types: Iterable[str] | None,
        limit: int | None,
        partition: int = 0,
    ) -> None:
        self._partition = partition
        self.position = self._start = valid_position(after)
        self._codec = codec
        self._left = limit
        self.done = limit is not None and limit <= 0
        self._upto = None if upto is None else valid_position(upto)
        self._types = None if types is None else sorted(set(types))
        self._buffers: dict[str, deque[Entry]] = {}
        self._reached: dict[str, str] = {}
        self._more: set[str] = set()
        self._horizon = self.position
        self._quiet = 0

    @property
    def horizon(self) -> str:
        """Up to where everything comes, or came: nothing that is appended from now on has an id at or below it."""
        return self._horizon

    def begin(self) -> Steps[None]:
        """Learns which streams there are, those of other programs included."""
        yield FindTypes(self._partition)
        found = yield from self._look()
        asked_for = parse_id(found.last)
        # What is there now, this millisecond's entries included, is complete in the next one.
        while parse_id(found.complete)[0] < asked_for[0]:
            found = yield from self._look()

    def page(self) -> Steps[list[StoredEvent]]:
        """The next events; none if the end is reached as it was when the feed began, or when follow() looked."""
        yield from self._fill()
        events: list[StoredEvent] = []
        heads = [(parse_id(buffer[0][0]), name) for name, buffer in self._buffers.items() if buffer]
        heapq.heapify(heads)
        wanted = PAGE if self._left is None else min(PAGE, self._left)
        while heads and len(events) < wanted:
            _, name = heads[0]
            buffer = self._buffers[name]
            event = self._event(name, buffer[0])
            buffer.popleft()
            events.append(event)
            if buffer:
                heapq.heapreplace(heads, (parse_id(buffer[0][0]), name))
            elif name in self._more:
                break  # what follows in this stream may come before the heads of the others
            else:
                heapq.heappop(heads)
        if self._left is not None:
            self._left -= len(events)
            self.done = self._left == 0
        if events:
            self.position = max(self.position, events[-1].position, key=parse_id)
        return events

    def follow(self, seconds: float = WAIT) -> Steps[None]:
        """Waits a moment for entries beyond the end, and moves the horizon."""
        beyond = max(self.position, self._horizon, key=parse_id)
        yield AwaitEntries(sorted(self._reached), beyond, seconds, self._partition)
        self._quiet += 1
        if self._quiet % _LOOK == 0:
            yield FindTypes(self._partition)
        yield from self._look()

    def _look(self) -> Steps[Horizon]:
        found: Horizon = yield FindHorizon(self._partition)
        horizon = found.complete if self._upto is None else min(found.complete, self._upto, key=parse_id)
        self._horizon = max(horizon, self._horizon, key=parse_id)
        for name in self._types if self._types is not None else _known(found):
            # A stream that was found late is read from where the feed began: late is better than never.
            if name not in self._reached:
                self._reached[name], self._buffers[name] = self._start, deque()
            self._more.add(name)
        return found

    def _fill(self) -> Steps[None]:
        wanted = {name: self._reached[name] for name in self._more if not self._buffers[name]}
        if not wanted:
            return
        found = yield ReadStreams(wanted, self._horizon, partition=self._partition)
        for name, entries in found.items():
            self._buffers[name].extend(entries)
            if entries:
                self._reached[name] = entries[-1][0]
                self._quiet = 0
            if len(entries) < PAGE:
                self._more.discard(name)

    def _event(self, name: str, entry: Entry) -> StoredEvent:
        position, fields = entry
        event = self._codec.decode(registry.get(name), position, fields)
        return StoredEvent(event, position, event.metadata["aggregate_version"])
