"""Which entries of an ordered handler are known to its owner, by key and in their order. No input or output.

Every pending entry has a `Ref` here; only those in hand have their fields and event with them.
"""

import bisect
import heapq
import itertools
import time
from collections import deque
from dataclasses import dataclass, field

from busredis.delivery.model import Delivery
from busredis.delivery.ordered_pending import Parked
from busredis.delivery.pending import Row
from busredis.keys import parse_id


@dataclass(slots=True, eq=False)
class Ref:
    """One pending entry. `due` is a time.monotonic(); `suspect`: a daemon that fell silent held it."""

    stream: str
    id: bytes
    lane: "Lane"
    holder: str
    count: int
    due: float = 0.0
    suspect: bool = False
    delivery: Delivery | None = None
    #: It has been given to a lane, or to the runner of suspects, and is not settled yet.
    runs: bool = False
    #: The look through the pending lists that saw it last.
    seen: int = 0
    #: It was a dead letter, and is tried again.
    parked: Parked | None = None
    position: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.position = parse_id(self.id.decode())

    def row(self) -> Row:
        return Row(self.stream, self.id, self.holder, 0, self.count)


@dataclass(slots=True, eq=False)
class Lane:
    """The entries of one key, in total order. `asks`: before one is started, it must be known that nothing is parked."""

    key: str
    asks: bool
    refs: list[Ref] = field(default_factory=list)
    busy: bool = False
    queued: bool = False
    in_hand: int = 0
    #: When it is looked at again, if that is to be.
    timer: float | None = None

    @property
    def has_key(self) -> bool:
        """Whether it is the lane of a key; else of one entry that has none."""
        return not self.key.startswith("\n")

    def beyond(self, most: int) -> list[Ref]:
        """What is in hand in vain: behind an entry that waits or is not in hand, or behind so many others."""
        kept = 0
        for ref in self.refs[:most]:
            if ref.delivery is None and not ref.runs:
                break
            kept += ref.delivery is not None
        found: list[Ref] = []
        for ref in reversed(self.refs):
            if len(found) == self.in_hand - kept:
                break
            if ref.delivery is not None and not ref.runs:
                found.append(ref)
        return found


class Queues:
    """All lanes of one tenure, and which of them can go on."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        self.known: dict[tuple[str, bytes], Ref] = {}
        self.in_hand = 0
        self._ready: deque[Lane] = deque()
        self._timers: list[tuple[float, int, Lane]] = []
        self._numbers = itertools.count()

    def lane(self, key: str, entry: tuple[str, bytes], *, asks: bool) -> Lane:
        """The lane of a key; an entry without one has a lane of its own."""
        name = key or f"\n{entry[0]} {entry[1].decode()}"
        found = self.lanes.get(name)
        if found is None:
            found = self.lanes[name] = Lane(name, asks=asks and bool(key))
        return found

    def add(self, ref: Ref) -> None:
        """Puts an entry in its place in its lane."""
        refs = ref.lane.refs
        if refs and refs[-1].position > ref.position:
            bisect.insort(refs, ref, key=lambda other: other.position)
        else:
            refs.append(ref)
        self.known[ref.stream, ref.id] = ref
        if ref.delivery is not None:
            ref.lane.in_hand += 1
            self.in_hand += 1
        self.wake(ref.lane)

    def hold(self, ref: Ref, delivery: Delivery) -> None:
        """An entry is in hand from now on."""
        if ref.delivery is None:
            ref.lane.in_hand += 1
            self.in_hand += 1
        ref.delivery, ref.holder, ref.count = delivery, delivery.holder, delivery.attempt

    def drop(self, ref: Ref) -> None:
        """An entry is not in hand any more."""
        if ref.delivery is not None:
            ref.lane.in_hand -= 1
            self.in_hand -= 1
        ref.delivery = None

    def remove(self, ref: Ref) -> None:
        """An entry is settled, or gone."""
        self.drop(ref)
        del self.known[ref.stream, ref.id]
        ref.lane.refs.remove(ref)
        if not ref.lane.refs:
            self.lanes.pop(ref.lane.key, None)

    def wake(self, lane: Lane) -> None:
        """Looks whether the first entry of a lane can be started: now, later, or not before something else happens."""
        if lane.busy or lane.queued or not lane.refs:
            return
        if lane.refs[0].due > time.monotonic():
            self._set_timer(lane)
        else:
            lane.queued = True
            self._ready.append(lane)

    def _set_timer(self, lane: Lane) -> None:
        due = lane.refs[0].due
        if lane.timer is None or due < lane.timer:  # an earlier one looks at the lane again
            lane.timer = due
            heapq.heappush(self._timers, (due, next(self._numbers), lane))

    def wake_all(self) -> None:
        for lane in list(self.lanes.values()):
            self.wake(lane)

    def ready(self, most: int) -> list[Lane]:
        """At most so many lanes whose first entry can be started, taken out of the queue."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            lane = heapq.heappop(self._timers)[2]
            lane.timer = None
            self.wake(lane)
        found: list[Lane] = []
        while self._ready and len(found) < most:
            lane = self._ready.popleft()
            lane.queued = False
            if lane.busy or not lane.refs:
                continue
            if lane.refs[0].due > now:
                self._set_timer(lane)
            else:
                found.append(lane)
        return found

    def is_idle(self) -> bool:
        """Whether nothing is in hand, nothing can be started, and nothing will be due."""
        return not (self.in_hand or self._ready or self._timers)

    def next_due(self) -> float | None:
        """When the first entry that waits is due, a time.monotonic()."""
        return self._timers[0][0] if self._timers else None
