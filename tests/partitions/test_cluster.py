"""A real cluster of three masters with a replica each, and a master with sentinels."""

import asyncio
import os
import socket
from collections import defaultdict
from datetime import timedelta

import orjson
import pytest
import redis
from typer.testing import CliRunner

from busredis import AsyncPublisher, Daemon, DomainEvent, EventStore, Publisher, Router
from busredis.cli.app import app
from busredis.client import AsyncClient, Client
from busredis.cluster import slot_of
from busredis.commands import many, raw, script
from busredis.dead_letters import DeadLetters
from busredis.errors import CommandRefused, NotSent, PublishRefused
from busredis.keys import parse_id
from busredis.lua import Source
from busredis.partitions import all_keys, partition_of
from busredis.status import read_status
from busredis.store import NEW
from tests.clusters import Sentinels, TestCluster, kill_the_owner, move_slots
from tests.partitions.conftest import FAST
from tests.partitions.under_load import Load
from tests.waiting import wait_until

COUNT = 12
#: So many failovers, and so many times four slots are moved: one with all the tests, many with `make cluster`.
ROUNDS = int(os.environ.get("BUSREDIS_CLUSTER_ROUNDS", "1"))


class Spread(DomainEvent):
    number: int = 0


@pytest.fixture
def parts(namespace):
    return all_keys(namespace, COUNT)


def test_slots_are_those_of_the_servers(cluster):
    with redis.Redis(port=cluster.nodes[0].port) as client:
        for key in ("123456789", "{a}b", "{}a", "a{b}{c}", "a{b", "{busredis:3}:stream:X", "é", ""):
            assert slot_of(key) == client.execute_command("CLUSTER", "KEYSLOT", key)
    assert slot_of("123456789") == 0x31C3


def test_commands_go_to_the_node_of_their_key_alone_or_together(cluster, parts):
    async def check(client):
        commands = [("SET", keys.view("x"), keys.partition) for keys in parts]
        assert await client.run(many(commands)) == [b"OK"] * COUNT
        return [await client.run(raw("GET", keys.view("x")).__iter__()) for keys in parts]

    async def run():
        client = AsyncClient(cluster.url)
        try:
            return await check(client)
        finally:
            await client.close()

    assert asyncio.run(run()) == [b"%d" % n for n in range(COUNT)]
    client = Client(cluster.url)
    owners = {cluster.owner(slot_of(keys.view("x"))).port for keys in parts}
    assert len(owners) == 3
    found = client.run(script(Source.of("t", "return redis.call('GET', KEYS[1])"), [parts[3].view("x")], []))
    assert found == b"3"
    transaction = many([("MULTI",), ("INCR", parts[5].view("x")), ("EXEC",)])
    assert client.run(transaction)[-1] == [6]
    with pytest.raises(CommandRefused, match="CROSSSLOT"):
        client.run(raw("DEL", parts[0].view("x"), parts[1].view("x")).__iter__())
    client.close()


def test_the_whole_bus_works_on_a_cluster(cluster, namespace, parts):
    router, seen = Router(), defaultdict(list)

    @router.on(Spread, name="gather", max_attempts=2, backoff=0.01)
    async def gather(event, ctx):
        if event.number == 13:
            raise ValueError("unlucky")
        seen[event.aggregate_id].append(event.number)
        ctx.effects.add("INCRBY", ctx.view("count"), 1)

    with Publisher(cluster.url, namespace=namespace, partitions=COUNT, durability="replica") as publisher:
        ids = publisher.publish_many([Spread(number=n, aggregate_id=f"a-{n % 40}") for n in range(800)])
        places = [partition_of(f"a-{n % 40}", COUNT) for n in range(800)]
        assert len(set(zip(places, ids, strict=True))) == 800

    Daemon(router, url=cluster.url, namespace=namespace, burst=True, **FAST).run()

    assert seen.pop("a-13")[0] == 53
    assert all(numbers == list(range(int(name[2:]), 800, 40)) for name, numbers in seen.items())
    client = Client(cluster.url)
    counts = client.run(many([("GET", keys.view("count")) for keys in parts]))
    assert sum(int(count or 0) for count in counts) == 799
    [letter] = client.run(DeadLetters(parts).list("gather"))
    assert letter.id.startswith(f"{partition_of('a-13', COUNT)}/")
    status = client.run(read_status(parts))
    assert status.streams[0].length == 800
    client.close()
    with EventStore(cluster.url, namespace=namespace) as store:
        for n in range(20):
            store.append(("Spreader", f"s-{n}"), NEW, [Spread(number=n), Spread(number=n)])
        assert [store.version(("Spreader", f"s-{n}")) for n in range(20)] == [2] * 20
        assert len(list(store.feed())) == 840
        assert [e.event.number for e in store.read(("Spreader", "s-3"))] == [3, 3]


async def test_async_publishers_share_appends_by_partition(cluster, namespace, parts):
    async with AsyncPublisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        ids = await asyncio.gather(
            *(publisher.publish(Spread(number=n, aggregate_id=str(n % 7))) for n in range(500))
        )
    by_aggregate = defaultdict(list)
    for n, entry_id in enumerate(ids):
        by_aggregate[n % 7].append(parse_id(entry_id))
    assert all(found == sorted(found) for found in by_aggregate.values())


def test_a_slot_that_moves_is_followed(cluster, namespace, parts):
    keys = parts[4]
    slot = slot_of(keys.tag)
    aggregate = next(f"m-{n}" for n in range(500) if partition_of(f"m-{n}", COUNT) == 4)
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        publisher.publish(Spread(number=1, aggregate_id=aggregate))
        target = next(node for node in cluster.masters_now() if node is not cluster.owner(slot))
        cluster.move_slot(slot, target)
        publisher.publish(Spread(number=2, aggregate_id=aggregate))
        client = Client(cluster.url)
        assert client.run(raw("XLEN", keys.stream("Spread")).__iter__()) == 2
        client.close()
    assert cluster.owner(slot) is target


def test_a_url_that_is_no_cluster_says_so(server, cluster, namespace):
    with Publisher(f"redis+cluster://127.0.0.1:{server.port}", namespace=namespace) as publisher:
        with pytest.raises(PublishRefused, match="no node of a cluster, use redis://"):
            publisher.publish(Spread())
    keys = all_keys(namespace, 1)[0]
    stranger = next(n for n in cluster.masters_now() if n is not cluster.owner(slot_of(keys.tag)))
    with Publisher(f"redis://127.0.0.1:{stranger.port}/0", namespace=namespace) as publisher:
        with pytest.raises(PublishRefused, match=r"MOVED.*redis\+cluster://"):
            publisher.publish(Spread())


def test_one_partition_works_on_a_cluster_too(cluster, namespace):
    router, seen = Router(), []
    router.on(Spread, name="one")(lambda event: seen.append(event.number))
    with Publisher(cluster.url, namespace=namespace) as publisher:
        publisher.publish_many([Spread(number=n) for n in range(100)])

    Daemon(router, url=cluster.url, namespace=namespace, burst=True, **FAST).run()

    assert seen == list(range(100))


def test_a_node_that_is_not_there_is_told_in_time(free_port, monkeypatch):
    tries, connect = [], socket.socket.connect

    def counted(self, address):
        tries.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", counted)
    client = Client(f"redis+cluster://127.0.0.1:{free_port}", timeout=timedelta(seconds=1))
    for number in (1, 2):
        with pytest.raises(NotSent, match="no node of the cluster answers"):
            client.run(raw("GET", "x").__iter__())
        # Each is bounded by the timeout, and there is nothing else that could take time.
        assert tries == [("127.0.0.1", free_port)] * number
    client.close()


@pytest.fixture(params=[3, 6] if ROUNDS > 1 else [3])
def masters(request, cluster, tmp_path):
    """A cluster of three masters, with `make cluster` also one of six; each has a replica."""
    if request.param == 3:
        yield cluster
        return
    with TestCluster(tmp_path / "six", masters=request.param) as running:
        yield running


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_failovers_and_moving_slots_under_load_lose_nothing_that_was_confirmed(masters, namespace, tmp_path):
    cluster = masters
    with Load(cluster.url, namespace, tmp_path / "load", partitions=COUNT) as load:
        for number in range(ROUNDS):
            load.go_on(150)
            move_slots(cluster, all_keys(namespace, COUNT)[:4])
            load.go_on(150)
            kill_the_owner(cluster, slot_of(all_keys(namespace, COUNT)[number % COUNT].tag))
        load.go_on(150)
        count = len(cluster.masters)
        load.check(f"{count} masters: four slots were moved and a master was killed, {ROUNDS} time(s)")


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_a_failover_by_sentinels_loses_nothing_that_was_confirmed(namespace, tmp_path):
    with Sentinels(tmp_path / "servers") as sentinels:
        with Load(sentinels.url, namespace, tmp_path / "load") as load:
            for _ in range(ROUNDS):
                load.go_on(300)
                victim = sentinels.master()
                victim.kill()
                wait_until(
                    lambda v=victim: sentinels.master() is not v, "the sentinels have chosen another", 60
                )
                victim.restart()
                wait_until(sentinels.is_ready, "the old master is a replica", 60)
            load.go_on(300)
            load.check(f"the master was killed, sentinels chose another, {ROUNDS} time(s)")


def test_the_command_line_shows_where_partitions_are(cluster, namespace, monkeypatch):
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        publisher.publish_many([Spread(number=n) for n in range(120)])
    monkeypatch.setenv("BUSREDIS_URL", cluster.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)

    shown = CliRunner().invoke(app, ["partitions", "--json", "--seconds", "0.1"])
    table = CliRunner().invoke(app, ["partitions", "--seconds", "0.1"])

    assert shown.exit_code == table.exit_code == 0, shown.output + table.output
    found = orjson.loads(shown.output)
    assert [one["partition"] for one in found] == list(range(COUNT))
    assert sum(one["entries"] for one in found) == 120
    for one in found:
        assert one["slot"] == slot_of(f"{{{namespace}:{one['partition']}}}")
        assert one["owner"] == f"127.0.0.1:{cluster.owner(one['slot']).port}"
    tail = CliRunner().invoke(app, ["tail", "-n", "200"])
    assert len(tail.output.splitlines()) == 120
