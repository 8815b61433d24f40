"""What is trimmed, what never is, and what a feed says of it; on a real server."""

import pytest

from busredis import DomainEvent, EventStore, Publisher
from busredis.errors import CommandRefused, PositionGone
from busredis.keys import just_before
from busredis.retention import Limits, Trimmed, trim, trim_before, trim_page


class Leaf(DomainEvent):
    number: int = 0
    text: str = ""


GROUP = "gardener"


@pytest.fixture
def leaves(publisher):
    """The ids of ten entries."""
    return publisher.publish_many([Leaf(number=number) for number in range(10)])


def left(inspect, keys) -> list[str]:
    return [entry_id.decode() for entry_id, _ in inspect.xrange(keys.stream("Leaf"))]


def read(inspect, keys, count: int) -> list[bytes]:
    [[_, entries]] = inspect.xreadgroup(GROUP, "c", {keys.stream("Leaf"): ">"}, count=count)
    return [entry_id for entry_id, _ in entries]


def test_entries_below_an_id_are_removed_counted_and_the_last_is_recorded(client, inspect, keys, leaves):
    assert client.run(trim_before(keys, "Leaf", leaves[4])) == 4
    assert client.run(trim_before(keys, "Leaf", leaves[4])) == 0

    assert left(inspect, keys) == leaves[4:]
    assert inspect.hgetall(keys.trimmed) == {b"Leaf": leaves[3].encode()}


def test_all_may_go_in_pages_and_the_next_id_is_still_higher(server, namespace, client, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        ids = publisher.publish_many([Leaf(number=number) for number in range(2_500)])
        assert client.run(trim_before(keys, "Leaf", f"{2**64 - 1}-{2**64 - 1}")) == 2_500
        assert publisher.publish(Leaf()) > ids[-1]


def test_large_entries_go_in_small_pages(server, namespace, client, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        ids = publisher.publish_many([Leaf(text="x" * 900_000) for _ in range(12)])
    # Loads the script, so that it is called by its digest.
    client.run(trim_page(keys, "Leaf", Limits(), 0))
    sent = []

    def watched(flow):
        request = next(flow)
        try:
            while True:
                sent.append(request.commands[0][0])
                request = flow.send(client._exchange(request))
        except StopIteration as stop:
            return stop.value

    assert watched(trim_before(keys, "Leaf", ids[-1])) == 11
    assert sent.count("EVALSHA") >= 3


def test_a_stream_that_is_not_there_has_nothing_to_trim(client, inspect, keys):
    assert client.run(trim_before(keys, "Leaf", "5-0")) == 0


@pytest.mark.parametrize("read_so_far", [0, 1, 5, 10])
def test_what_a_group_has_not_read_stays(client, inspect, keys, leaves, read_so_far):
    inspect.xgroup_create(keys.stream("Leaf"), GROUP, id="0")
    if read_so_far:
        ids = read(inspect, keys, read_so_far)
        inspect.xack(keys.stream("Leaf"), GROUP, *ids)

    found = client.run(trim(keys, "Leaf", Limits()))

    assert left(inspect, keys) == leaves[read_so_far:]
    assert found == Trimmed(read_so_far, "group gardener" if read_so_far < 10 else "")


@pytest.mark.parametrize("consumer", ["c", "waiting", "waiting-0"])
def test_what_a_group_has_pending_or_waiting_stays_and_all_behind_it(client, inspect, keys, leaves, consumer):
    stream = keys.stream("Leaf")
    inspect.xgroup_create(stream, GROUP, id="0")
    ids = read(inspect, keys, 10)
    inspect.xack(stream, GROUP, *ids[:3], *ids[4:])
    inspect.xclaim(stream, GROUP, consumer, 0, [ids[3]], justid=True)

    assert client.run(trim(keys, "Leaf", Limits())) == Trimmed(3, "group gardener")
    assert client.run(trim_page(keys, "Leaf", Limits(), 0)) == Trimmed(0, "group gardener")
    assert left(inspect, keys) == leaves[3:]
    inspect.xack(stream, GROUP, ids[3])
    assert client.run(trim(keys, "Leaf", Limits())) == Trimmed(7)


def test_a_group_that_was_moved_back_needs_what_it_will_read_again(client, inspect, keys, leaves):
    stream = keys.stream("Leaf")
    inspect.xgroup_create(stream, GROUP, id="0")
    read(inspect, keys, 10)
    inspect.xgroup_setid(stream, GROUP, leaves[1])

    client.run(trim_before(keys, "Leaf", leaves[9]))
    inspect.xack(stream, GROUP, *leaves)
    client.run(trim_before(keys, "Leaf", leaves[9]))

    assert left(inspect, keys) == leaves[2:]


def test_a_lost_group_keeps_what_its_checkpoint_needs(client, inspect, keys, leaves):
    inspect.sadd(keys.groups, GROUP)
    inspect.hset(keys.checkpoint(GROUP), keys.stream("Leaf"), leaves[2])

    assert client.run(trim(keys, "Leaf", Limits())) == Trimmed(3, "group gardener")
    assert left(inspect, keys) == leaves[3:]


def test_the_slowest_of_several_groups_decides(client, inspect, keys, leaves):
    stream = keys.stream("Leaf")
    inspect.xgroup_create(stream, "fast", id=leaves[8])
    inspect.xgroup_create(stream, "slow", id=leaves[1])

    assert client.run(trim(keys, "Leaf", Limits(first_kept=leaves[5]))) == Trimmed(2, "group slow")


def test_ids_of_any_size_are_compared_exactly(client, inspect, keys):
    stream, ids = keys.stream("Leaf"), [f"{2**53}-{2**64 - 3 + n}" for n in range(3)]
    for entry_id in ["9-0", *ids]:
        inspect.xadd(stream, {"event": "{}"}, id=entry_id)
    inspect.xgroup_create(stream, GROUP, id=ids[0])

    assert client.run(trim_before(keys, "Leaf", ids[2])) == 2
    assert left(inspect, keys) == ids[1:]


def test_events_that_histories_refer_to_are_spared_unless_they_are_kept_elsewhere(
    server, namespace, client, inspect, keys, leaves
):
    with EventStore(server.url, namespace=namespace) as store:
        store.append(("Tree", "oak"), 0, [Leaf(number=10)])

    assert client.run(trim(keys, "Leaf", Limits())) == Trimmed(10, "aggregates")
    with EventStore(server.url, namespace=namespace) as store:
        assert [one.event.number for one in store.read(("Tree", "oak"))] == [10]
    assert client.run(trim_before(keys, "Leaf", "99999999999999-0")) == 1


def test_a_feed_is_told_exactly_what_was_trimmed(server, namespace, client, inspect, keys, leaves):
    client.run(trim_before(keys, "Leaf", leaves[4]))

    with EventStore(server.url, namespace=namespace) as store:
        for gone in ("0-0", leaves[0], leaves[2], just_before(leaves[3])):
            with pytest.raises(PositionGone, match="were removed") as caught:
                list(store.feed(gone))
            assert caught.value.first == leaves[3]
        assert [one.event.number for one in store.feed(leaves[3])] == [4, 5, 6, 7, 8, 9]


def test_an_id_that_is_none_is_refused_before_anything_is_sent(client, inspect, keys, leaves):
    for nonsense in ("now", "", "+"):
        with pytest.raises(ValueError, match="entry id"):
            client.run(trim_before(keys, "Leaf", nonsense))
    assert left(inspect, keys) == leaves


def test_what_cannot_be_recorded_is_not_removed(client, inspect, keys, leaves):
    inspect.set(keys.trimmed, "text")
    with pytest.raises(CommandRefused, match="WRONGTYPE"):
        client.run(trim_before(keys, "Leaf", leaves[4]))
    inspect.delete(keys.trimmed)

    assert left(inspect, keys) == leaves
