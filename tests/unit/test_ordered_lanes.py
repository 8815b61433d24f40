"""The queues of an ordered handler, without a server."""

import itertools
import random

from busredis.delivery import ordered_lanes
from busredis.delivery.model import Delivery
from busredis.delivery.ordered_lanes import Queues, Ref
from busredis.events import DomainEvent


def add(queues: Queues, key: str, entry_id: str, *, in_hand: bool = False, due: float = 0.0) -> Ref:
    lane = queues.lane(key, ("s", entry_id.encode()), asks=False)
    delivery = Delivery("s", DomainEvent, entry_id.encode(), [], 1, "me", 0.0, key=key) if in_hand else None
    ref = Ref("s", entry_id.encode(), lane, "me", 1, due, delivery=delivery)
    queues.add(ref)
    return ref


def test_entries_of_a_key_are_in_the_order_of_their_ids_however_they_come():
    queues, ids = Queues(), [f"{ms}-{seq}" for ms in (9, 10) for seq in (0, 2, 10)]
    shuffled = random.Random(1).sample(ids, len(ids))
    for entry_id in shuffled:
        add(queues, "k", entry_id)

    [lane] = queues.ready(10)

    assert [ref.id.decode() for ref in lane.refs] == ids


def test_entries_without_a_key_have_lanes_of_their_own():
    queues = Queues()
    add(queues, "", "1-0")
    add(queues, "", "2-0")

    assert [lane.has_key for lane in queues.ready(10)] == [False, False]


def test_a_lane_that_becomes_due_while_it_is_looked_at_is_found_the_next_time(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(ordered_lanes.time, "monotonic", lambda: float(next(clock)))
    queues = Queues()
    ref = add(queues, "k", "1-0")
    ref.due = next(clock) + 1.5  # queued already, and due in the next moment

    assert queues.ready(10) == []
    assert [lane.key for _ in range(5) for lane in queues.ready(10)] == ["k"]


def test_a_lane_that_is_woken_often_has_one_timer(monkeypatch):
    monkeypatch.setattr(ordered_lanes.time, "monotonic", lambda: 0.0)
    queues = Queues()
    ref = add(queues, "k", "1-0", due=5.0)
    for due in (6.0, 5.5, 7.0):
        ref.due = due
        queues.wake(ref.lane)

    assert queues.next_due() == 5.0
    assert len(queues._timers) == 1
    monkeypatch.setattr(ordered_lanes.time, "monotonic", lambda: 5.0)
    assert queues.ready(10) == []
    monkeypatch.setattr(ordered_lanes.time, "monotonic", lambda: 7.0)
    assert queues.ready(10) == [ref.lane]
    assert queues.is_idle()


def test_what_is_in_hand_behind_an_entry_that_is_not_is_in_hand_in_vain():
    queues = Queues()
    refs = [add(queues, "k", f"{n}-0", in_hand=True) for n in range(1, 6)]
    lane = refs[0].lane

    assert lane.beyond(10) == []
    assert lane.beyond(3) == [refs[4], refs[3]]
    queues.drop(refs[0])
    assert lane.beyond(10) == refs[:0:-1]
    assert queues.in_hand == lane.in_hand == 4


def test_a_key_is_forgotten_with_its_last_entry():
    queues = Queues()
    ref = add(queues, "k", "1-0", in_hand=True)
    queues.remove(ref)

    assert (queues.lanes, queues.known, queues.in_hand) == ({}, {}, 0)
