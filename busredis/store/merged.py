"""The feeds of all partitions as one: exact within each partition, by time over all of them."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from busredis.codec import Codec
from busredis.errors import StoreError
from busredis.keys import parse_id
from busredis.store.feed import BEGINNING, WAIT, Feed
from busredis.store.model import StoredEvent
from busredis.store.operations import PAGE, Steps


def split_position(position: str, count: int) -> list[str]:
    """A position of a merged feed as one a partition; "0-0" is the beginning of all. Raises StoreError."""
    if position == BEGINNING:
        return [BEGINNING] * count
    found = position.split(",")
    if len(found) != count:
        raise StoreError(
            f"a position in the feed of {count} partitions is {count} entry ids with commas between them, in the "
            f"order of the partitions, or {BEGINNING!r}, not {position[:80]!r}; for one partition say partition=n"
        )
    return found


class MergedFeed:
    """One reader of all partitions, with the steps of Feed.

    Each partition's events come in its order, none is skipped. Over partitions they come by entry id, that is by the
    clocks of the servers: nearly, since what another partition gets later may have a lower id. The position of an event
    has how far each partition was read.
    """

    def __init__(self, make: Callable[[int, str], Feed], after: str, count: int, limit: int | None) -> None:
        self._reached = split_position(after, count)
        self._feeds = [make(number, start) for number, start in enumerate(self._reached)]
        self._buffers: list[deque[StoredEvent]] = [deque() for _ in self._feeds]
        self._left = limit
        self.done = limit is not None and limit <= 0

    def begin(self) -> Steps[None]:
        for feed in self._feeds:
            yield from feed.begin()

    def page(self) -> Steps[list[StoredEvent]]:
        """The next events; none if the end of every partition is reached."""
        yield from self._fill()
        wanted = PAGE if self._left is None else min(PAGE, self._left)
        events = [event for _, event in zip(range(wanted), self._merge(), strict=False)]
        if self._left is not None:
            self._left -= len(events)
            self.done = self._left == 0
        return events

    def _fill(self) -> Steps[None]:
        for feed, buffer in zip(self._feeds, self._buffers, strict=True):
            if not buffer and not feed.done:
                buffer.extend((yield from feed.page()))

    def _merge(self) -> Iterator[StoredEvent]:
        """Until a partition that may have more has to be read again."""
        heads = [(parse_id(buffer[0].position), n) for n, buffer in enumerate(self._buffers) if buffer]
        heapq.heapify(heads)
        while heads:
            _, number = heads[0]
            event = self._buffers[number].popleft()
            self._reached[number] = event.position
            yield event._replace(position=",".join(self._reached))
            if not self._buffers[number]:
                return
            heapq.heapreplace(heads, (parse_id(self._buffers[number][0].position), number))

    def follow(self) -> Steps[None]:
        """Looks at each partition, and waits a moment at each."""
        for feed in self._feeds:
            yield from feed.follow(WAIT / len(self._feeds))


def feed_of(
    count: int,
    partition: int | None,
    after: str,
    make: Callable[[int, str, str | None], Feed],
    *,
    upto: str | None,
    limit: int | None,
) -> Feed | MergedFeed:
    """The feed of one partition, or of all `count`. Raises StoreError for a partition or a position that cannot be."""
    if partition is None and count == 1:
        partition = 0
    if partition is None:
        ends = [None] * count if upto is None else split_position(upto, count)
        return MergedFeed(lambda number, start: make(number, start, ends[number]), after, count, limit)
    if not 0 <= partition < count:
        raise StoreError(f"partition={partition}: there are {count}, numbered from 0")
    return make(partition, after, upto)


def new_feed(
    codec: Codec,
    partition: int,
    after: str,
    upto: str | None,
    *,
    types: Iterable[str] | None,
    limit: int | None,
) -> Feed:
    return Feed(codec, after, upto=upto, types=types, limit=limit, partition=partition)
