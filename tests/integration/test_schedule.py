"""Scheduled events: appended once when due, moved, cancelled, listed; through both publishers."""

import asyncio
import json
import random
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from busredis import AsyncPublisher, Context, Daemon, DomainEvent, Publisher, PublishRefused, Router
from busredis.client import Client
from busredis.daemon.scheduler import append_due
from busredis.errors import EncodeError
from busredis.keys import parse_id
from busredis.settings import Settings
from tests.proxy import Proxy
from tests.waiting import wait_until


class Reminded(DomainEvent):
    number: int = 0
    text: str = ""


class Asked(DomainEvent):
    number: int = 0


FUTURE = datetime(2150, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1)}


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


@pytest.fixture
def due(server, namespace, keys):
    """Appends what is due, as a daemon does, and says what it did."""
    client, settings = Client(server.url), Settings(url=server.url, namespace=namespace)
    yield lambda who="d", **options: client.run(append_due(keys, settings, who, **options))
    client.close()


def events(inspect, keys, kind=Reminded):
    return [kind.from_json(fields[b"event"]) for _, fields in inspect.xrange(keys.stream(kind.type_name))]


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


def test_a_lost_reply_changes_the_schedule_once_and_is_answered_as_the_first_was(
    server, namespace, due, inspect, keys
):
    with Proxy(server.port) as proxy, Publisher(proxy.url, namespace=namespace) as publisher:
        publisher.schedule(Reminded(number=0), at=FUTURE)
        for number in range(1, 6):
            proxy.cut_before_reply(needle=b"EVALSHA")
            schedule_id = publisher.schedule(Reminded(number=number), delay=0)
            # It was due before the answer came; the retry must not schedule it again.
            due()
        proxy.cut_before_reply(needle=b"EVALSHA")
        kept = publisher.schedule(Reminded(number=6), at=FUTURE)
        proxy.cut_before_reply(needle=b"EVALSHA")
        assert publisher.cancel(kept)
        assert proxy.lost_replies == 7

    due()
    assert not due().appended
    assert sorted(event.number for event in events(inspect, keys)) == [1, 2, 3, 4, 5]
    assert schedule_id not in inspect.hkeys(keys.scheduled)


def test_a_retry_whose_event_was_appended_meanwhile_does_not_schedule_it_again(
    server, namespace, due, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        exchange = publisher._client._exchange
        lost = []

        def lose_the_reply(request):
            reply = exchange(request)
            if request.commands[0][0] != "EVAL" and not lost:
                from busredis.errors import ConnectionLost

                lost.append(due().appended)
                raise ConnectionLost("cut before the reply")
            return reply

        publisher.schedule(Reminded(number=0), at=FUTURE)
        publisher._client._exchange = lose_the_reply
        publisher.schedule(Reminded(number=1), delay=0)

    assert lost == [1]
    assert due().appended == 0
    assert [event.number for event in events(inspect, keys)] == [1]


def test_many_daemons_that_look_at_once_append_each_event_once_in_the_order_of_all_appends(
    server, namespace, inspect, keys
):
    settings, appended = Settings(url=server.url, namespace=namespace), []

    def look(who: str) -> None:
        client = Client(server.url)
        appended.extend(client.run(append_due(keys, settings, who)).appended for _ in range(20))
        client.close()

    with Publisher(server.url, namespace=namespace) as publisher:
        for number in range(2_000):
            publisher.schedule(Reminded(number=number), delay=0)
        threads = [threading.Thread(target=look, args=(f"d{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        published = [publisher.publish(Asked(number=number)) for number in range(200)]
        for thread in threads:
            thread.join()

    ids = [entry_id.decode() for entry_id, _ in inspect.xrange(keys.stream("Reminded"))]
    assert sum(appended) == 2_000
    assert sorted(event.number for event in events(inspect, keys)) == list(range(2_000))
    assert len({parse_id(entry_id) for entry_id in [*ids, *published]}) == 2_200
    assert published == sorted(published, key=parse_id)


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
    assert 90 < due("c").seconds <= 101  # by two clocks


def test_handlers_schedule_what_their_event_causes_and_a_burst_handles_what_is_due(
    server, namespace, inspect, keys
):
    router, seen = Router(), []

    @router.on(Asked, name="asks", backoff=0.01)
    async def asks(event: Asked, ctx: Context) -> None:
        await ctx.schedule(Reminded(number=event.number), delay=0, key=f"reminder:{event.event_id}")
        await ctx.schedule(Reminded(), at=FUTURE, key=f"later:{event.event_id}")
        if ctx.attempt == 1:
            raise ValueError("once more")

    @router.on(Reminded, name="is-reminded")
    async def is_reminded(event: Reminded) -> None:
        seen.append(event)

    asked = Asked(number=7)
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(asked)
        Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
        assert [(event.number, event.causation_id) for event in seen] == [(7, str(asked.event_id))]
        assert [one.id for one in publisher.scheduled()] == [f"later:{asked.event_id}"]
        assert publisher.scheduled(0) == []


def test_a_daemon_appends_what_falls_due_while_it_runs_also_after_trouble_with_the_server(
    server, namespace, inspect, keys
):
    router, seen = Router(), []

    @router.on(Reminded, name="is-reminded")
    async def is_reminded(event: Reminded) -> None:
        seen.append(event.number)

    with Proxy(server.port) as proxy, Publisher(server.url, namespace=namespace) as publisher:
        daemon = Daemon(router, url=proxy.url, namespace=namespace, **FAST)
        thread = threading.Thread(target=daemon.run)
        thread.start()
        for number in range(20):
            publisher.schedule(Reminded(number=number), delay=random.uniform(0, 0.5))
            if number % 5 == 0:
                proxy.cut_before_reply(needle=b"EVALSHA")
        wait_until(lambda: sorted(set(seen)) == list(range(20)), "all are handled")
        daemon.stop()
        thread.join()

    assert sorted(event.number for event in events(inspect, keys)) == list(range(20))
    assert not inspect.exists(keys.lease("schedule"))


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
