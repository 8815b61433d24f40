"""What goes wrong between a writer and the server: an append is whole or absent, and stored once."""

import os
import random
import threading

import pytest

from busredis import (
    AggregateId,
    Commit,
    DomainEvent,
    EventStore,
    PublishIndeterminate,
    PublishRefused,
    Repository,
)
from busredis.errors import PositionGone, ServerError
from busredis.store import ANY, NEW
from tests.proxy import Proxy
from tests.servers import TestServer, chosen_server
from tests.store.counter import Counter
from tests.store.killed import FORK, run_and_kill
from tests.waiting import wait_until

LEFT, RIGHT = AggregateId("Half", "left"), AggregateId("Half", "right")


class Piece(DomainEvent):
    number: int = 0


class OtherPiece(DomainEvent):
    number: int = 0


def test_an_append_whose_answer_was_lost_is_tried_again_and_stored_once(server, namespace, inspect):
    with Proxy(server.port) as proxy, EventStore(proxy.url, namespace=namespace) as store:
        store.append(LEFT, NEW, [Piece(number=0)])
        for version in range(1, 6):
            proxy.cut_before_reply(1, needle=b"EVALSHA")
            assert store.append(LEFT, version, [Piece(number=version)]).version == version + 1
        assert proxy.lost_replies == 5
        assert [one.event.number for one in store.read(LEFT)] == list(range(6))


def test_an_append_without_an_answer_is_indeterminate_and_may_be_saved_again(server, namespace, inspect):
    options = {"namespace": namespace, "publish_timeout": 0.4}
    with Proxy(server.port) as proxy, EventStore(proxy.url, **options) as store:
        repository = Repository(store)
        counter = Counter("c")
        counter.count(1)
        repository.save(counter)
        counter.count(2)
        proxy.cut_before_reply(1_000, needle=b"EVALSHA")
        with pytest.raises(PublishIndeterminate):
            repository.save(counter)
        assert len(counter.get_uncommitted_events()) == 1

        proxy.cut_before_reply(0)
        repository.save(counter)

        assert counter.get_uncommitted_events() == []
        assert repository.load(Counter, "c").state.total == 3
        assert len(list(store.feed())) == 2


def test_a_store_that_cannot_be_reached_refuses_in_time(free_port, namespace, clock):
    with EventStore(f"redis://127.0.0.1:{free_port}/0", namespace=namespace, publish_timeout=0.4) as store:
        with pytest.raises(PublishRefused, match="not written"):
            store.append(LEFT, NEW, [Piece()])
        took, tries = clock.elapsed, len(clock.pauses)
        with pytest.raises(ServerError, match="no connection"):
            list(store.read(LEFT))

    assert (0 < took <= 0.4, 0 < clock.elapsed - took <= 0.4) == (True, True)
    assert (tries > 1, len(clock.pauses) - tries > 1) == (True, True), "both were tried again"


def test_reading_goes_on_through_a_cut(server, namespace, inspect):
    with EventStore(server.url, namespace=namespace) as store:
        for version in range(0, 2_000, 500):
            store.append(LEFT, version, [Piece(number=version + number) for number in range(500)])
    with Proxy(server.port) as proxy, EventStore(proxy.url, namespace=namespace) as store:
        numbers = []
        for one in store.read(LEFT):
            if one.version % 500 == 100:
                proxy.cut()
            numbers.append(one.event.number)
    assert numbers == list(range(2_000))


def test_a_wrong_type_in_the_way_of_any_part_leaves_nothing_of_an_append(server, namespace, inspect, keys):
    with EventStore(server.url, namespace=namespace) as store:
        store.append(LEFT, NEW, [Piece(number=1)])
        before = list(store.feed())
        for key in (keys.stream("OtherPiece"), keys.aggregate(*RIGHT)):
            inspect.set(key, "x")
            with pytest.raises(PublishRefused, match="WRONGTYPE"):
                store.append_all([Commit(LEFT, 1, [Piece(), OtherPiece()]), Commit(RIGHT, ANY, [Piece()])])
            inspect.delete(key)
            assert list(store.feed()) == before
            assert store.version(LEFT) == 1
        store.append_all([Commit(LEFT, 1, [Piece(), OtherPiece()]), Commit(RIGHT, NEW, [Piece()])])
        assert len(list(store.feed())) == 4


def test_a_feed_says_so_when_entries_behind_its_position_were_removed(server, namespace, inspect, keys):
    name, _ = chosen_server()
    stream = keys.stream("Piece")
    with EventStore(server.url, namespace=namespace) as store:
        positions = store.append(LEFT, NEW, [Piece(number=number) for number in range(10)]).positions
        store.append(RIGHT, NEW, [OtherPiece()])
        inspect.xtrim(stream, maxlen=6, approximate=False)
        if name == "redis-6.2":  # it does not tell what was removed
            assert len(list(store.feed())) == 7
            return
        with pytest.raises(PositionGone, match="were removed") as caught:
            list(store.feed())
        rest = list(store.feed(caught.value.first, types=["Piece"]))
        assert [one.event.number for one in rest] == [4, 5, 6, 7, 8, 9]
        assert len(list(store.feed(positions[3]))) == 7

        inspect.xdel(stream, positions[7])
        with pytest.raises(PositionGone) as caught:
            list(store.feed(positions[5]))
        assert caught.value.first == positions[7]
        assert len(list(store.feed(positions[7]))) == 3


def write_until_killed(url, namespace, ready):
    """Commits of three events to one aggregate and three to another, in one append each, for ever."""
    with EventStore(url, namespace=namespace) as store:
        while True:
            left, right = store.version(LEFT), store.version(RIGHT)
            events = [[Piece(number=n), OtherPiece(number=n), Piece(number=n)] for n in (left, right)]
            store.append_all([Commit(LEFT, left, events[0]), Commit(RIGHT, right, events[1])])
            ready.set()


def check_whole(store, inspect, keys):
    left, right = list(store.read(LEFT)), list(store.read(RIGHT))
    assert len(left) == len(right)
    assert len(left) % 3 == 0
    assert [one.event.number for one in left] == [version - version % 3 for version in range(len(left))]
    referred = sorted(one.position for one in left + right)
    assert sorted(one.position for one in store.feed()) == referred
    assert len(set(referred)) == len(referred)
    return len(left) // 3


def test_a_writer_that_is_killed_200_times_leaves_no_half_of_an_append(server, namespace, inspect, keys):
    seed = random.randrange(2**32)
    chance, commits = random.Random(seed), 0
    with EventStore(server.url, namespace=namespace) as store:
        for kill in range(200):
            run_and_kill(write_until_killed, (server.url, namespace), chance, within=0.012)
            if kill % 20 == 19:
                commits = check_whole(store, inspect, keys)
    print(f"200 kills, {commits} commits of 2 x 3 events, seed {seed}")
    assert commits >= 200


def test_a_server_that_is_killed_loses_no_confirmed_append_and_keeps_no_half_of_one(
    tmp_path, namespace, keys
):
    import redis

    # With everysec a server answers while its write waits behind a slow sync, and may lose that even to a SIGKILL.
    _, binary = chosen_server()
    confirmed, problems = [], []
    with (
        TestServer(binary, tmp_path, appendfsync="always") as own,
        EventStore(own.url, namespace=namespace, publish_timeout=60) as store,
    ):
        stop = threading.Event()

        def write():
            try:
                go_on()
            except BaseException as error:  # noqa: BLE001 - told below
                problems.append(error)

        def go_on():
            while not stop.is_set():
                version = len(confirmed) * 3
                commits = [
                    Commit(
                        name,
                        version,
                        [Piece(number=version), OtherPiece(number=version), Piece(number=version)],
                    )
                    for name in (LEFT, RIGHT)
                ]
                store.append_all(commits)
                confirmed.append(version)

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(6):
            count = len(confirmed)
            wait_until(lambda count=count: problems or len(confirmed) > count + 50, "the writer gets on", 60)
            assert problems == []
            own.kill()
            own.restart()
        stop.set()
        writer.join(timeout=70)
        assert problems == []
        with redis.Redis(port=own.port) as client:
            assert check_whole(store, client, keys) == len(confirmed)


PER_PROCESS = 250


def increment(url, namespace, seed):
    chance = random.Random(seed)
    with EventStore(url, namespace=namespace) as store:
        repository = Repository(store)
        for number in range(PER_PROCESS):
            with repository.edit(Counter, f"c{chance.randrange(50)}", create=True) as counter:
                counter.count(1, note=f"{seed} {number}")
    os._exit(0)


def test_eight_processes_that_edit_fifty_aggregates_lose_and_double_nothing(server, namespace, inspect):
    processes = [FORK.Process(target=increment, args=(server.url, namespace, seed)) for seed in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8

    with EventStore(server.url, namespace=namespace) as store:
        repository, notes, total = Repository(store), [], 0
        for number in range(50):
            stored = list(store.read(("Counter", f"c{number}")))
            assert [one.version for one in stored] == list(range(1, len(stored) + 1))
            assert [one.event.aggregate_version for one in stored] == list(range(1, len(stored) + 1))
            notes += [one.event.note for one in stored]
            total += repository.load(Counter, f"c{number}").state.total
    assert total == 8 * PER_PROCESS
    assert sorted(notes) == sorted(f"{seed} {number}" for seed in range(8) for number in range(PER_PROCESS))
