"""Histories and feeds go through the archive and Redis together, and who reads does not notice."""

import pytest
from pydantic import BaseModel

from busredis import AsyncEventStore, EventSourcedAggregate, EventStore, Repository, SnapshotPolicy, applies
from busredis.errors import ArchiveDamaged, HistoryDamaged, PositionGone, VersionConflict
from busredis.events import DomainEvent
from busredis.keys import just_after, parse_id
from busredis.retention import trim_before
from tests.archive.conftest import EVERYTHING, ColdPaid, publish_old
from tests.store.stores import Blocking


class ColdCounted(DomainEvent):
    by: int = 0


class ColdNamed(DomainEvent):
    name: str = ""


class ColdCounterState(BaseModel):
    total: int = 0
    names: list[str] = []


class ColdCounter(EventSourcedAggregate[ColdCounterState], snapshots=SnapshotPolicy(every=None)):
    def count(self, by: int) -> None:
        self.raise_event(ColdCounted(by=by))

    @applies(ColdCounted)
    def _counted(self, event: ColdCounted) -> None:
        self.state.total += event.by

    @applies(ColdNamed)
    def _named(self, event: ColdNamed) -> None:
        self.state.names.append(event.name)


@pytest.fixture(params=["blocking", "asyncio"])
def store(request, server, namespace, folder, inspect):
    options = {"namespace": namespace, "archive": str(folder)}
    made = (
        EventStore(server.url, **options)
        if request.param == "blocking"
        else Blocking(lambda: AsyncEventStore(server.url, **options))
    )
    yield made
    made.close()


def lived(store, names, steps):
    """Aggregates that take turns, with events of two types; what they are in the end."""
    repository = Repository(store)
    for step in range(steps):
        for name in names:
            counter = repository.load(ColdCounter, name) if step else ColdCounter(name)
            counter.count(step)
            if step % 3 == 0:
                counter.raise_event(ColdNamed(name=f"{name}-{step}"))
            repository.save(counter)
    return repository


def position_in_the_middle(store, name):
    events = list(store.read(("ColdCounter", name)))
    return events[len(events) // 2].position


@pytest.mark.parametrize("how", ["half", "all"])
def test_an_aggregate_with_its_life_in_the_archive_is_rebuilt_to_the_same_state(store, run, how):
    repository = lived(store, ["a", "b"], 30)
    before = {name: repository.load(ColdCounter, name) for name in ("a", "b")}
    histories = {name: list(store.read(("ColdCounter", name))) for name in before}

    run(position_in_the_middle(store, "a") if how == "half" else EVERYTHING)

    for name, was in before.items():
        found = repository.rebuild(ColdCounter, name)
        assert (found.version, found.state) == (was.version, was.state)
        assert repository.load(ColdCounter, name, at_version=7).version == 7
        assert list(store.read(("ColdCounter", name))) == histories[name]
        assert list(store.read(("ColdCounter", name), backward=True)) == histories[name][::-1]
        with repository.edit(ColdCounter, name) as counter:
            counter.count(100)
        assert repository.load(ColdCounter, name).state.total == was.state.total + 100


@pytest.mark.parametrize("expected", [0, 1])
def test_a_stale_append_to_an_archived_aggregate_is_a_conflict_and_not_a_damaged_history(
    store, run, server, namespace, expected
):
    lived(store, ["a"], 5)
    version = store.version(("ColdCounter", "a"))
    run()

    with EventStore(server.url, namespace=namespace) as without:
        for one in (store, without):
            with pytest.raises(VersionConflict, match=f"is at version {version}"):
                one.append(("ColdCounter", "a"), expected, [ColdCounted(by=1)])

    assert store.version(("ColdCounter", "a")) == version


def test_an_append_that_was_archived_meanwhile_is_known_when_it_is_made_again(store, run):
    events = [ColdCounted(by=n) for n in range(3)]
    first = store.append(("ColdCounter", "again"), 0, events)
    run()

    assert store.append(("ColdCounter", "again"), 0, events) == first
    assert store.version(("ColdCounter", "again")) == 3


def test_without_the_archive_the_error_says_how_to_name_it(store, run, server, namespace):
    lived(store, ["a"], 5)
    run()

    with EventStore(server.url, namespace=namespace) as without:
        with pytest.raises(HistoryDamaged, match="BUSREDIS_ARCHIVE"):
            Repository(without).load(ColdCounter, "a")
        with pytest.raises(PositionGone, match="BUSREDIS_ARCHIVE"):
            list(without.feed())


def test_a_feed_goes_through_the_archive_and_redis_in_one_order(store, run, inspect, keys):
    published = publish_old(inspect, keys, days=4, a_day=300)
    run(trim=False)
    once = list(store.feed())
    assert [
        f"{s.event.event_type} {s.position} {s.event.to_json().decode()}" for s in sorted(once, key=by_line)
    ] == published
    middle = once[len(once) // 2].position

    for event_type, upto in (("ColdPaid", middle), ("ColdShipped", once[100].position)):
        inspect_trim(run, event_type, upto)
        assert list(store.feed()) == once
    run()

    assert list(store.feed()) == once
    assert list(store.feed(after=middle)) == once[len(once) // 2 + 1 :]
    assert list(store.feed(upto=middle)) == once[: len(once) // 2 + 1]
    assert list(store.feed(after=once[10].position, limit=700)) == once[11:711]
    assert list(store.feed(types=["ColdPaid"])) == [s for s in once if s.event.event_type == "ColdPaid"]


def by_line(stored):
    return f"{stored.event.event_type} {stored.position} "


def inspect_trim(run, event_type, upto):
    archiver_client, keys = run.client, run.keys
    archiver_client.run(trim_before(keys, event_type, just_after(upto)))


def test_what_is_appended_while_a_feed_follows_and_is_archived_meanwhile_is_not_missed(
    store, run, inspect, keys
):
    publish_old(inspect, keys, days=1, a_day=600)
    positions, feed = [], store.feed()
    for stored in feed:
        positions.append(stored.position)
        if len(positions) == 50:
            run()

    assert len(positions) == len(set(positions)) == 1200
    assert positions == sorted(positions, key=parse_id)


def test_entries_trimmed_before_there_was_an_archive_are_gone_and_said_to_be(store, run, inspect, keys):
    publish_old(inspect, keys, days=2, a_day=3, classes=(ColdPaid,))
    second = inspect.xrange(keys.stream("ColdPaid"))[1][0].decode()
    inspect_trim(run, "ColdPaid", second)
    run()

    with pytest.raises(PositionGone):
        list(store.feed())
    assert len(list(store.feed(after=second))) == 4


def test_a_file_that_is_damaged_is_an_error_and_not_a_gap(store, run, inspect, keys, folder):
    publish_old(inspect, keys, days=1, a_day=3, classes=(ColdPaid,))
    run()
    next(folder.rglob("*.parquet")).write_bytes(b"PAR1 nothing")

    with pytest.raises(ArchiveDamaged, match="archive verify"):
        list(store.feed())
