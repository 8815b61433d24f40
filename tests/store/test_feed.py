"""All events of a partition in total order: the same promises for every store."""

import threading
from itertools import islice

import pytest

from busredis import DomainEvent
from busredis.errors import StoreError
from busredis.keys import parse_id
from busredis.store import ANY
from tests.store.stores import make_store


class Red(DomainEvent):
    number: int = 0


class Green(DomainEvent):
    number: int = 0


class Blue(DomainEvent):
    number: int = 0


KINDS = [Red, Green, Blue]


def fill(store, count):
    """`count` events over 3 types and 5 aggregates; their positions."""
    positions = []
    for number in range(count):
        kind = KINDS[number * 7 % 3]
        positions += store.append(("Light", f"l{number % 5}"), ANY, [kind(number=number)]).positions
    return positions


def test_the_feed_has_everything_once_in_the_order_in_which_it_was_appended(store):
    positions = fill(store, 60)

    found = list(store.feed())

    assert [one.position for one in found] == positions
    assert [one.event.number for one in found] == list(range(60))


def test_it_merges_pages_of_types_of_very_different_lengths(store):
    numbers = []
    for start in range(0, 1_800, 300):
        store.append(("Light", "r"), ANY, [Red(number=number) for number in range(start, start + 299)])
        store.append(("Light", "g"), ANY, [Green(number=start + 299)])
        numbers += range(start, start + 300)

    assert [one.event.number for one in store.feed()] == numbers


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 100])
def test_it_goes_on_after_a_position_which_is_not_read_again(store, limit):
    positions = fill(store, 12)

    for start in (0, 5, 10, 11):
        found = [one.position for one in store.feed(positions[start], limit=limit)]
        assert found == positions[start + 1 :][:limit]
    assert list(store.feed("99999999999999-0")) == []


def test_it_ends_with_a_position_which_is_read(store):
    positions = fill(store, 10)

    assert [one.position for one in store.feed(upto=positions[6])] == positions[:7]
    assert [one.position for one in store.feed(positions[2], upto=positions[6])] == positions[3:7]
    assert list(store.feed(positions[6], upto=positions[6])) == []


def test_it_can_be_of_some_types_only_and_the_limit_counts_those(store):
    fill(store, 30)

    everything = [one.event for one in store.feed()]
    for names in (["Red"], ["Red", "Blue"], ["Nobody"], []):
        wanted = [event.number for event in everything if event.event_type in names]
        assert [one.event.number for one in store.feed(types=names)] == wanted
        assert [one.event.number for one in store.feed(types=names, limit=4)] == wanted[:4]


@pytest.mark.parametrize("position", ["", "x", "1-", None, 5, "1-2-3"])
def test_a_position_that_is_none_is_refused(store, position):
    with pytest.raises(StoreError, match="a position is an entry id"):
        list(store.feed(position))


def test_a_refused_append_leaves_no_hole(store):
    store.append(("Light", "a"), 0, [Red(number=1)])
    with pytest.raises(StoreError):
        store.append(("Light", "a"), 0, [Red(number=2)])
    store.append(("Light", "a"), 1, [Red(number=3)])

    assert [one.event.number for one in store.feed()] == [1, 3]


@pytest.mark.parametrize("name", ["redis", "memory"])
def test_what_follows_a_position_never_appears_behind_it_while_many_write(name, server, namespace, inspect):
    store = make_store(name, server.url, namespace)
    per_writer, problems = 150, []

    def write(writer):
        try:
            # Each its own connection, as if in a process of its own, and a new type now and then.
            own = store if name == "memory" else make_store(name, server.url, namespace)
            for number in range(per_writer):
                kind = KINDS[(writer + number // 50) % 3]
                own.append(("Light", f"w{writer}"), number, [kind(number=writer * 1_000 + number)])
        except BaseException as error:
            problems.append(error)
            raise

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(10)]
    for writer in writers:
        writer.start()
    seen, position = [], "0-0"
    while any(writer.is_alive() for writer in writers):
        for one in store.feed(position):
            seen.append(one)
            position = one.position
    seen += store.feed(position)

    assert problems == []
    assert len(seen) == 10 * per_writer
    assert len({one.event.event_id for one in seen}) == 10 * per_writer
    positions = [parse_id(one.position) for one in seen]
    assert positions == sorted(positions)
    assert seen == list(store.feed())
    store.close()


@pytest.mark.parametrize("name", ["redis", "memory"])
def test_it_follows_without_a_gap_or_a_double_at_the_switch(name, server, namespace, inspect):
    store = make_store(name, server.url, namespace)
    fill(store, 700)

    def write():
        own = store if name == "memory" else make_store(name, server.url, namespace)
        for number in range(700, 1_500):
            own.append(("Light", "w"), ANY, [KINDS[number % 3](number=number)])

    writer = threading.Thread(target=write)
    writer.start()
    numbers = [one.event.number for one in islice(store.feed(follow=True), 1_500)]
    writer.join()

    assert numbers == list(range(1_500))
    store.close()


@pytest.mark.parametrize("name", ["redis", "memory"])
def test_a_feed_that_follows_an_empty_partition_sees_its_first_event(name, server, namespace, inspect):
    store = make_store(name, server.url, namespace)
    found = []
    reader = threading.Thread(target=lambda: found.extend(islice(store.feed(follow=True), 3)))
    reader.start()

    fill(store, 3)
    reader.join(timeout=20)

    assert [one.event.number for one in found] == [0, 1, 2]
    store.close()


def test_a_reader_that_polls_does_not_go_through_all_keys_each_time_and_skips_nothing(
    server, namespace, inspect, keys
):
    def scans():
        return inspect.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"]

    with make_store("redis", server.url, namespace) as store:
        first = store.append(("Light", "a"), 0, [Red(number=1)]).positions[0]
        assert [one.event.number for one in store.feed()] == [1]
        before = scans()
        for number in range(2, 22):
            # The first entry of a type, by a program that tells nobody; then one of ours behind it.
            inspect.xadd(keys.stream("Green"), {"event": f'{{"payload": {{"number": {number}}}}}'})
            found = list(store.feed(first))
            assert [one.event.number for one in found] == [number]
            first = found[-1].position
        assert scans() == before


def test_every_type_that_an_append_begins_is_known_with_its_first_entry(server, namespace, inspect, keys):
    with make_store("redis", server.url, namespace) as store:
        store.append(("Light", "a"), 0, [Red(), Green()])
        assert inspect.smembers(keys.types) == {b"Red", b"Green"}
        inspect.xadd(keys.stream("Blue"), {"event": '{"payload": {"number": 5}}'})
        assert [one.event.number for one in store.feed(types=["Blue"])] == [5]
        # An XADD * of the same millisecond may have an id before those of the append.
        assert sorted(one.event.event_type for one in store.feed()) == ["Blue", "Green", "Red"]
        assert inspect.smembers(keys.types) == {b"Red", b"Green", b"Blue"}
