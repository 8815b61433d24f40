"""Appending to aggregates and reading them back: the same promises for every store."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from busredis import AggregateId, Commit, DomainEvent, VersionConflict
from busredis.errors import EncodeError, RegistrationError, StoreError
from busredis.keys import parse_id
from busredis.store import ANY, NEW


class Opened(DomainEvent):
    owner: str = ""


class Moved(DomainEvent, event_type="account.moved"):
    cents: int = 0


A, B = AggregateId("Account", "a"), AggregateId("Account", "b")


def texts(stored):
    return [(one.version, one.event.event_type, one.event.payload) for one in stored]


def test_an_append_of_nothing_has_no_effect(store):
    assert store.append(A, NEW, []).positions == []
    assert store.version(A) == 0
    assert list(store.read(A)) == []
    assert list(store.feed()) == []


def test_an_event_comes_back_whole_and_says_whose_it_is(store):
    event = Moved(cents=5, user_id="u", correlation_id="c", occurred_at=datetime(2020, 1, 2, 3, 4, 5, 6, UTC))

    appended = store.append(A, NEW, [event])
    [stored] = store.read(A)

    assert (appended.version, appended.positions) == (1, [stored.position])
    assert stored.version == 1
    assert stored.event == event.model_copy(
        update={"aggregate_type": "Account", "aggregate_id": "a", "aggregate_version": 1}
    )
    assert stored.event.event_id == event.event_id
    assert list(store.feed()) == [stored]


def test_several_in_one_append_follow_one_another_in_the_history_and_in_the_feed(store):
    first = store.append(A, NEW, [Opened(owner="x"), Moved(cents=1), Moved(cents=2)])
    second = store.append(A, 3, [Opened(owner="y"), Moved(cents=3)])

    assert (first.version, second.version) == (3, 5)
    positions = [parse_id(position) for position in first.positions + second.positions]
    assert positions == sorted(set(positions))
    assert [one.version for one in store.read(A)] == [1, 2, 3, 4, 5]
    assert [one.position for one in store.feed()] == first.positions + second.positions


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_a_stale_or_future_version_is_a_conflict_that_names_both_and_writes_nothing(store, expected):
    store.append(A, NEW, [Opened(), Moved(cents=1)])
    before = list(store.read(A)), list(store.feed())

    with pytest.raises(VersionConflict, match="at version 2, expected") as caught:
        store.append(A, expected, [Moved(cents=9)])

    assert (caught.value.type, caught.value.id) == A
    assert (caught.value.expected, caught.value.actual) == (expected, 2)
    assert (list(store.read(A)), list(store.feed())) == before


def test_any_version_gets_the_next_ones_without_a_gap(store):
    assert store.append(A, ANY, [Opened()]).version == 1
    assert store.append(A, ANY, [Moved(cents=1), Moved(cents=2)]).version == 3

    assert [(one.version, one.event.aggregate_version) for one in store.read(A)] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("versions", [(2, 4), (2, 2), (1, 2)])
def test_events_that_say_other_versions_are_refused_whole(store, versions):
    store.append(A, NEW, [Opened()])
    events = [Moved(aggregate_version=version) for version in versions]

    with pytest.raises((EncodeError, VersionConflict)):
        store.append(A, 1, events)

    assert store.version(A) == 1
    assert len(list(store.feed())) == 1


def test_an_event_of_another_aggregate_is_refused(store):
    with pytest.raises(EncodeError, match="aggregate_id is 'b', appended to 'a'"):
        store.append(A, NEW, [Moved(aggregate_id="b")])
    with pytest.raises(EncodeError, match="aggregate_type is 'Other'"):
        store.append(A, NEW, [Moved(aggregate_type="Other")])
    assert store.version(A) == 0


def test_several_aggregates_are_appended_to_together_or_not_at_all(store):
    store.append(B, NEW, [Opened()])

    with pytest.raises(VersionConflict) as caught:
        store.append_all([Commit(A, NEW, [Moved(cents=-5)]), Commit(B, NEW, [Moved(cents=5)])])
    assert caught.value.id == "b"
    assert (store.version(A), store.version(B)) == (0, 1)

    done = store.append_all(
        [Commit(A, NEW, [Moved(cents=-5)]), Commit(B, 1, [Moved(cents=5), Moved(cents=6)])]
    )
    assert [one.version for one in done] == [1, 3]
    assert [one.position for one in store.feed()][1:] == done[0].positions + done[1].positions


def test_one_aggregate_twice_in_one_append_is_refused(store):
    with pytest.raises(StoreError, match="twice in one append"):
        store.append_all([Commit(A, NEW, [Opened()]), Commit(A, 1, [Moved()])])


@pytest.mark.parametrize("expected", [-2, True, None, "1", 1.0])
def test_an_expected_version_that_is_none_is_refused(store, expected):
    with pytest.raises(StoreError, match="expected_version is"):
        store.append(A, expected, [Opened()])


@pytest.mark.parametrize(
    ("kind", "name", "error"),
    [
        ("Account", "", EncodeError),
        ("Account", "x" * 513, EncodeError),
        ("Account", "\ud800", EncodeError),
        ("Account", 7, EncodeError),
        ("", "a", RegistrationError),
        ("Acc:ount", "a", RegistrationError),
        ("Account*", "a", RegistrationError),
    ],
)
def test_a_name_that_cannot_be_a_key_is_refused(store, kind, name, error):
    with pytest.raises(error):
        store.append((kind, name), NEW, [Opened()])
    with pytest.raises(error):
        list(store.read((kind, name)))
    with pytest.raises(error):
        store.version((kind, name))


ODD = ["a", "a:b", "A", "a b", "a}", "{a", "ä€😀", "a\n\r\0b", "a*", "a" * 512, "a:", ":a", "'\"\\"]


def test_ids_of_any_text_do_not_mix(store):
    for number, name in enumerate(ODD):
        store.append(("Account", name), NEW, [Moved(cents=number)])
        store.append(("Accounts", name), NEW, [Moved(cents=-number)])

    for number, name in enumerate(ODD):
        assert texts(store.read(("Account", name))) == [(1, "account.moved", {"cents": number})]
        assert texts(store.read(("Accounts", name))) == [(1, "account.moved", {"cents": -number})]
    assert len(list(store.feed())) == 2 * len(ODD)


READS = [
    ({}, range(1, 1_203)),
    ({"backward": True}, range(1_202, 0, -1)),
    ({"backward": True, "limit": 1}, [1_202]),
    ({"backward": True, "limit": 1, "upto": 700}, [700]),
    ({"after": 2, "upto": 4}, [3, 4]),
    ({"after": 600, "upto": 1_110}, range(601, 1_111)),
    ({"after": 1_201}, [1_202]),
    ({"after": 1_202}, []),
    ({"after": 5_000}, []),
    ({"upto": 5_000, "after": 1_200}, [1_201, 1_202]),
    ({"upto": 0}, []),
    ({"limit": 0}, []),
    ({"limit": 3}, [1, 2, 3]),
    ({"limit": 750, "after": 10}, range(11, 761)),
    ({"backward": True, "after": 500, "upto": 1_100}, range(1_100, 500, -1)),
    ({"backward": True, "limit": 600}, range(1_202, 602, -1)),
]


def test_any_part_of_a_history_can_be_read_in_both_directions(store):
    for start in range(0, 1_200, 400):
        store.append(A, start, [Moved(cents=start + number + 1) for number in range(400)])
        store.append(B, start, [Moved(cents=-1) for number in range(400)])
    store.append(A, 1_200, [Opened(), Moved(cents=1_202)])

    for options, versions in READS:
        found = list(store.read(A, **options))
        assert [one.version for one in found] == list(versions), options
        assert all(one.event.payload.get("cents", one.version) == one.version for one in found), options


def test_a_history_can_be_read_as_it_was_recorded_at_a_time(store):
    stored = []
    for version in range(7):
        store.append(A, version, [Moved(cents=version + 1)])
        [newest] = store.read(A, after=version)
        stored.append(newest)

    for one in stored:
        at = datetime.fromtimestamp(parse_id(one.position)[0] / 1000, UTC)
        versions = [x.version for x in stored if parse_id(x.position)[0] <= parse_id(one.position)[0]]
        assert [x.version for x in store.read(A, at=at)] == versions
    first = datetime.fromtimestamp(parse_id(stored[0].position)[0] / 1000, UTC)
    assert list(store.read(A, at=first - timedelta(milliseconds=1))) == []
    assert len(list(store.read(A, at=first + timedelta(days=1)))) == 7
    with pytest.raises(StoreError, match="no zone"):
        list(store.read(A, at=datetime(2020, 1, 1)))


def test_an_append_is_limited_in_events_and_bytes(store):
    with pytest.raises(EncodeError, match="too much for one append"):
        store.append(A, NEW, [Moved() for _ in range(501)])
    with pytest.raises(EncodeError, match="too much for one append"):
        store.append(A, NEW, [Opened(owner="x" * 1_000_000) for _ in range(3)])
    with pytest.raises(EncodeError, match="no DomainEvent"):
        store.append(A, NEW, [Opened(), {"cents": 1}])
    assert store.version(A) == 0


def test_the_same_append_again_succeeds_and_stores_nothing_twice(store):
    events = [Opened(owner="x"), Moved(cents=1)]
    first = store.append(A, NEW, events)
    store.append(A, 2, [Moved(cents=2)])

    again = store.append(A, NEW, events)

    assert again == first
    assert store.version(A) == 3
    assert len(list(store.feed())) == 3
    with pytest.raises(VersionConflict):
        store.append(A, NEW, [*events, Moved(cents=3)])
    with pytest.raises(VersionConflict):
        store.append(A, NEW, [events[0], Moved(cents=1)])


def test_of_writers_that_expect_the_same_version_exactly_one_wins_each_time(store):
    if type(store).__name__ == "Blocking":
        rivals_async(store)
        return
    wins, problems = [], []

    def write(name):
        try:
            won = 0
            while won < 50:
                version = store.version(A)
                try:
                    store.append(A, version, [Moved(cents=name)])
                except VersionConflict as conflict:
                    assert conflict.actual > version
                else:
                    won += 1
            wins.append(won)
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    check_rivals(store, wins, 50)


def rivals_async(store):
    async def write(name):
        won = 0
        while won < 50:
            version = await store._store.version(A)
            try:
                await store._store.append(A, version, [Moved(cents=name)])
            except VersionConflict as conflict:
                assert conflict.actual > version
            else:
                won += 1
        return won

    async def race():
        return await asyncio.gather(*(write(name) for name in range(8)))

    check_rivals(store, store._runner.run(race()), 50)


def check_rivals(store, wins, each):
    stored = list(store.read(A))
    assert wins == [each] * 8
    assert [one.version for one in stored] == list(range(1, 8 * each + 1))
    assert sorted(one.event.cents for one in stored) == sorted(list(range(8)) * each)
    assert len({one.event.event_id for one in stored}) == 8 * each
