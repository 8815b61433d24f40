"""Scheduled events: appended once when due, moved, cancelled, listed; through both publishers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from busredis import AsyncPublisher, Publisher, PublishRefused
from busredis.errors import EncodeError
from busredis.keys import parse_id
from tests.integration.reminders import FUTURE, Asked, Reminded, events


class Blocking:
    """An AsyncPublisher driven through blocking calls."""

    def __init__(self, *args, **options) -> None:
        self._runner = asyncio.Runner()
        self._publisher = self._runner.run(self._make(args, options))

    async def _make(self, args, options):
        return AsyncPublisher(*args, **options)

    def __getattr__(self, name):
        return lambda *args, **options: self._runner.run(getattr(self._publisher, name)(*args, **options))

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._runner.close()


@pytest.fixture(params=[Publisher, Blocking], ids=["sync", "async"])
def publisher(request, server, namespace, inspect):
    with request.param(server.url, namespace=namespace) as found:
        yield found


def now_ms(inspect) -> int:
    """By the server's clock."""
    seconds, microseconds = inspect.time()
    return seconds * 1000 + microseconds // 1000


def test_what_is_due_is_appended_once_and_leaves_the_schedule(publisher, due, inspect, keys):
    ids = [publisher.schedule(Reminded(number=n), delay=0) for n in range(3)]
    later = publisher.schedule(Reminded(number=9), at=FUTURE)

    assert due().appended == 3
    assert due().appended == 0
    assert {str(event.event_id) for event in events(inspect, keys)} == set(ids)
    assert inspect.zrange(keys.schedule, 0, -1) == inspect.hkeys(keys.scheduled) == [later.encode()]


def test_an_event_occurs_when_it_is_due_to_the_microsecond(publisher, due, inspect, keys):
    moved = publisher.schedule(Reminded(number=1, text='"occurred_at":"x"'), delay=3600)
    publisher.schedule(Reminded(number=2), at=FUTURE.astimezone(timezone(timedelta(hours=5))))
    assert publisher.reschedule(moved, at=FUTURE + timedelta(days=1))

    first, second = publisher.scheduled()

    assert (first.id != moved, second.id) == (True, moved)
    assert datetime.fromisoformat(first.event["occurred_at"]) == FUTURE
    # The schedule is in milliseconds, rounded up: never early.
    assert first.at == FUTURE.replace(microsecond=124_000)
    assert second.event["payload"]["text"] == '"occurred_at":"x"'
    assert datetime.fromisoformat(second.event["occurred_at"]) == FUTURE + timedelta(days=1)


def test_the_past_is_now(publisher, due, inspect, keys):
    before = datetime.now(UTC)
    publisher.schedule(Reminded(), at=before - timedelta(days=400))

    assert due().appended == 1
    [event] = events(inspect, keys)
    assert before <= event.occurred_at <= datetime.now(UTC)


def test_a_cancelled_event_is_never_appended_not_even_if_it_was_due(publisher, due, inspect, keys):
    due_already = publisher.schedule(Reminded(number=1), delay=0)
    later = publisher.schedule(Reminded(number=2), at=FUTURE)

    assert publisher.cancel(due_already)
    assert publisher.cancel(later)
    assert not publisher.cancel(later)
    assert not publisher.reschedule(later, delay=0)
    assert due().appended == 0
    assert not inspect.exists(keys.schedule, keys.scheduled, keys.stream("Reminded"))


def test_what_was_appended_can_be_neither_cancelled_nor_moved(publisher, due, inspect, keys):
    schedule_id = publisher.schedule(Reminded(), delay=0)
    due()

    assert not publisher.cancel(schedule_id)
    assert not publisher.reschedule(schedule_id, at=FUTURE)
    assert len(events(inspect, keys)) == 1


def test_the_same_key_is_scheduled_once_before_and_after_it_was_due(publisher, due, inspect, keys):
    for delay in (0, 5):
        assert publisher.schedule(Reminded(number=1), delay=delay, key="dinner") == "dinner"
    with pytest.raises(PublishRefused, match="'dinner' was used for another event"):
        publisher.schedule(Reminded(number=2), delay=0, key="dinner")
    assert due().appended == 1
    assert publisher.schedule(Reminded(number=1), delay=0, key="dinner") == "dinner"
    with pytest.raises(PublishRefused, match="'dinner' was used for another event"):
        publisher.schedule(Reminded(number=2), delay=0, key="dinner")

    assert due().appended == 0
    [[entry_id, _]] = inspect.xrange(keys.stream("Reminded"))
    assert publisher.publish(Reminded(number=1), key="dinner") == entry_id.decode()
    assert publisher.scheduled() == []


def test_the_same_event_is_scheduled_once_and_keeps_its_time(publisher, inspect, keys):
    event = Reminded()
    publisher.schedule(event, at=FUTURE)
    publisher.schedule(event, at=FUTURE + timedelta(days=1))

    assert [one.at for one in publisher.scheduled()] == [FUTURE.replace(microsecond=124_000)]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({}, "either at=.* or delay="),
        ({"at": FUTURE, "delay": 1}, "either at=.* or delay="),
        ({"at": datetime(2150, 1, 1)}, "no time zone"),
        ({"at": "tomorrow"}, "no datetime"),
        ({"delay": "soon"}, "no time from now"),
        ({"delay": float("nan")}, "no time from now"),
        ({"delay": 1e300}, "no time from now"),
    ],
)
def test_a_time_that_is_none_is_refused_and_nothing_is_scheduled(publisher, inspect, keys, when, message):
    with pytest.raises(PublishRefused, match=message):
        publisher.schedule(Reminded(), **when)
    assert not inspect.exists(keys.schedule, keys.scheduled)


def test_what_is_no_event_or_no_key_is_refused(publisher, inspect, keys):
    with pytest.raises(EncodeError, match="no DomainEvent"):
        publisher.schedule("nonsense", delay=0)
    with pytest.raises(EncodeError, match="1 to 128"):
        publisher.schedule(Reminded(), delay=0, key="")
    for nonsense in ("\udcff", None, 7):
        with pytest.raises(PublishRefused, match="no id in the schedule"):
            publisher.cancel(nonsense)
        with pytest.raises(PublishRefused, match="no id in the schedule"):
            publisher.reschedule(nonsense, delay=1)
    publisher.close()
    with pytest.raises(PublishRefused, match="closed"):
        publisher.schedule(Reminded(), delay=0)
    assert not inspect.exists(keys.schedule)


def test_ids_rise_beside_foreign_entries_and_a_clock_that_steps_back(publisher, due, inspect, keys):
    ahead = int(datetime.now(UTC).timestamp() * 1000) + 60_000
    inspect.xadd(keys.stream("Reminded"), {"event": "{}"}, id=f"{ahead}-3")
    publisher.schedule(Reminded(), delay=0)
    due()
    first = publisher.publish(Asked())
    inspect.set(keys.clock, f"{ahead * 2}-5")
    publisher.schedule(Reminded(), delay=0)
    due()
    second = publisher.publish(Asked())

    in_stream = [entry_id.decode() for entry_id, _ in inspect.xrange(keys.stream("Reminded"))]
    positions = [parse_id(entry_id) for entry_id in [*in_stream[:2], first, in_stream[2], second]]
    assert positions == sorted(set(positions))
    assert inspect.sismember(keys.types, "Asked")


def test_what_a_stream_refuses_stays_in_the_schedule_and_is_in_nobodys_way(publisher, due, inspect, keys):
    inspect.set(keys.stream("Asked"), "a string")
    bad = publisher.schedule(Asked(), delay=0)
    publisher.schedule(Reminded(), delay=0)

    found = due()

    assert found.appended == 1
    [line] = found.refused
    assert line.startswith(f"{bad} Asked WRONGTYPE")
    inspect.delete(keys.stream("Asked"))
    inspect.zadd(keys.schedule, {bad: 0})
    assert due().appended == 1
    assert len(events(inspect, keys, Asked)) == 1


def test_one_daemon_looks_often_until_it_stops_and_the_others_look_seldom(due, publisher, inspect, keys):
    assert [due("a").looks_often, due("b").looks_often, due("a").looks_often] == [True, False, True]
    assert not due("a", lease=0).looks_often
    assert due("b").looks_often
    assert due("b").seconds is None
    publisher.schedule(Reminded(), delay=100)
    [(_, at)] = inspect.zrange(keys.schedule, 0, -1, withscores=True)
    before, found, after = now_ms(inspect), due("c"), now_ms(inspect)
    assert at - after <= round(found.seconds * 1000) <= at - before


def test_the_schedule_is_readable_with_redis_cli(publisher, inspect, keys):
    schedule_id = publisher.schedule(Reminded(number=3), at=FUTURE)

    assert inspect.zrange(keys.schedule, 0, -1) == [schedule_id.encode()]
    kind, fingerprint, document = inspect.hget(keys.scheduled, schedule_id).split(b" ", 2)
    assert (kind, fingerprint, json.loads(document)["payload"]["number"]) == (b"Reminded", b"-", 3)


def test_what_other_programs_left_in_the_schedule_is_shown_kept_and_in_nobodys_way(
    publisher, due, inspect, keys
):
    strange = {"void": b"", "word": b"Reminded", "text": b"Reminded - {broken", "list": b"Reminded - []"}
    inspect.hset(keys.scheduled, mapping=strange)
    inspect.zadd(keys.schedule, dict.fromkeys([*strange, b"\xff\xfe", "nothing"], 5) | {"void": "-inf"})
    inspect.hset(keys.scheduled, b"\xff\xfe", b"Reminded - {}")
    publisher.schedule(Reminded(number=1), delay=0)

    shown = {one.id: one.event for one in publisher.scheduled()}
    assert shown["text"] == {"unreadable": "Reminded - {broken"}
    assert set(shown) > {*strange, "\\xff\\xfe"}
    found = due()

    # What can be an entry becomes one, as anybody's XADD does: a handler's dead letter says what is wrong with it.
    assert found.appended == 4
    assert {line.split()[0] for line in found.refused} == {"void", "word", "nothing"}
    assert set(inspect.hkeys(keys.scheduled)) == {b"void", b"word"}
    assert inspect.zscore(keys.schedule, "nothing") is None
    inspect.zadd(keys.schedule, {"word": "+inf"})
    assert publisher.scheduled()[-1].at.year == 9999
