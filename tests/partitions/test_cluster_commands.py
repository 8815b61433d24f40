"""What goes over all partitions, on a cluster of three masters, from the command line."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from busredis import Daemon, EventStore, Publisher, Repository
from busredis.client import AsyncClient, Client
from busredis.cluster import slot_of
from busredis.commands import many, raw
from busredis.errors import PartlyDone
from busredis.keys import Keys
from busredis.partitions import all_keys
from tests.clusters import TestCluster
from tests.partitions import ledger
from tests.partitions.conftest import run_cli
from tests.partitions.ledger import PartSettled
from tests.partitions.metered import PartMeter, PartMetered
from tests.waiting import wait_until

COUNT = 9
FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=2)}
LEDGER = "part-ledger"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masters")
    with TestCluster(folder, replicas=False, cluster_require_full_coverage="no") as running:
        yield running


@pytest.fixture
def parts(namespace):
    return all_keys(namespace, COUNT)


@pytest.fixture
def client(cluster):
    made = Client(cluster.url)
    yield made
    made.close()


@pytest.fixture
def cli(cluster, namespace, monkeypatch, tmp_path):
    monkeypatch.setenv("BUSREDIS_URL", cluster.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    monkeypatch.setenv("BUSREDIS_ARCHIVE", str(tmp_path / "cold"))
    monkeypatch.setenv("COLUMNS", "200")
    for name, value in {"SWEEP": "100ms", "BLOCK": "100ms", "LEASE": "2s"}.items():
        monkeypatch.setenv(f"BUSREDIS_{name}", value)
    return run_cli


@pytest.fixture
def work(cluster, namespace):
    def work(factor=1):
        ledger.FACTOR = factor
        Daemon(ledger.router, url=cluster.url, namespace=namespace, burst=True, **FAST).run()
        ledger.FACTOR = 1

    return work


def total(client, parts, field="cents"):
    found = client.run(many([("HGET", keys.view("sum"), field) for keys in parts]))
    return sum(int(one or 0) for one in found)


def length(client, parts, name):
    return sum(client.run(many([("XLEN", keys.stream(name)) for keys in parts])))


def fill(cluster, namespace):
    """Ninety payments, and ten meters with three events each; on all three nodes."""
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        publisher.publish_many([PartSettled(cents=100, aggregate_id=f"a-{n % 30}") for n in range(90)])
    with EventStore(cluster.url, namespace=namespace) as store:
        for number in range(10):
            meter = PartMeter(f"m-{number}")
            for kwh in (1, 10, 100 + number):
                meter.raise_event(PartMetered(kwh=kwh))
            Repository(store).save(meter)
        return list(store.feed())


def test_requests_that_come_before_the_first_look_find_their_nodes_too(cluster, parts):
    async def ask():
        client = AsyncClient(cluster.url)
        try:
            return await asyncio.gather(*(client.run(raw("TYPE", keys.clock).__iter__()) for keys in parts))
        finally:
            await client.close()

    assert asyncio.run(ask()) == [b"none"] * COUNT


@pytest.mark.timeout(300)
def test_archive_replay_schedule_retention_and_pruning_over_all_nodes(
    cli, cluster, namespace, parts, client, work
):
    feed = fill(cluster, namespace)
    assert {cluster.owner(slot_of(keys.tag)).port for keys in parts} == {node.port for node in cluster.nodes}
    work(factor=10)
    assert total(client, parts) == 90_000

    # Archived and trimmed; read from there as before.
    done = json.loads(cli("archive", "--before", "now", "--json"))
    assert (done["total"]["entries"], done["total"]["trimmed"]) == (120, 120)
    assert length(client, parts, "PartSettled") == length(client, parts, "PartMetered") == 0
    assert "120 entries" in cli("archive", "verify")
    assert {file["partition"] for file in json.loads(cli("archive", "ls", "--json"))} == set(range(COUNT))
    with EventStore(cluster.url, namespace=namespace) as store:
        assert list(store.feed()) == feed
        assert [Repository(store).rebuild(PartMeter, f"m-{n}").state.kwh for n in range(10)] == [
            111 + n for n in range(10)
        ]
    into = f"again-{namespace}"
    restored = json.loads(cli("archive", "restore", "--into", into, "--json"))
    assert restored["entries"] == {"PartMetered": 30, "PartSettled": 90}
    assert length(client, all_keys(into, COUNT), "PartSettled") == 90

    # Rebuilt from cold and hot, switched over, and moved back in what is hot.
    with Publisher(cluster.url, namespace=namespace) as publisher:
        publisher.publish_many([PartSettled(cents=1, aggregate_id=f"a-{n}") for n in range(30)])
    rebuild = ("replay", LEDGER, "--shadow", "fresh", "--import", "tests.partitions.ledger")
    done = json.loads(cli(*rebuild, "--from", "beginning", "--switch", "--yes", "--json"))
    assert (done["handled"], done["dead"]) == (120, 0)
    work()
    assert total(client, parts) == 9_030
    replayed = total(client, parts, "replayed")
    since = _oldest(client, parts)
    moved = cli("replay", LEDGER, "--from", since, "--yes", "--no-wait")
    assert f"{LEDGER} reads again from" in moved
    work()
    assert (total(client, parts), total(client, parts, "replayed")) == (9_060, replayed + 30)

    # Kept by retention, where no group is in the way.
    assert "in each of 9 partitions" in cli("retention", "set", "PartSettled", "--acked")
    busy = next(keys for keys in parts if client.run(raw("XLEN", keys.stream("PartSettled")).__iter__()))
    client.run(raw("XGROUP", "CREATE", busy.stream("PartSettled"), "gone", "0").__iter__())
    client.run(raw("SADD", busy.groups, "gone").__iter__())
    assert "pinned by group gone" in cli("retention", "apply")
    left = length(client, [busy], "PartSettled")
    assert length(client, parts, "PartSettled") == left > 0
    assert "removed gone" in cli("groups", "prune", "gone", "--silent", "0", "--yes")
    assert [one["name"] for one in json.loads(cli("groups", "ls", "--json"))] == [LEDGER]
    assert json.loads(cli("retention", "apply", "--json"))["PartSettled"] == {
        "removed": left,
        "pinned_by": "",
    }

    # Scheduled in several partitions, listed as one, appended by a daemon.
    for number in range(8):
        cli(
            "schedule",
            "add",
            "PartSettled",
            '{"cents": 1000}',
            "--in",
            "0" if number < 4 else f"{number}h",
            "--key",
            f"k-{number}",
        )
    assert [one["id"] for one in json.loads(cli("schedule", "ls", "--json"))][4:] == [
        f"k-{n}" for n in range(4, 8)
    ]
    cli("schedule", "cancel", "k-5")
    work()
    assert total(client, parts) == 13_060
    assert [one["id"] for one in json.loads(cli("schedule", "ls", "--json"))] == ["k-4", "k-6", "k-7"]


def _oldest(client, parts):
    """The time of the first payment that is in Redis: nothing that was archived is as young."""
    found = client.run(many([("XRANGE", keys.stream("PartSettled"), "-", "+", "COUNT", 1) for keys in parts]))
    ms = min(int(rows[0][0].split(b"-")[0]) for rows in found if rows)
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


@pytest.mark.timeout(300)
def test_what_a_lost_node_kept_from_being_done_is_named_and_done_when_it_is_back(
    cli, cluster, namespace, parts, client
):
    fill(cluster, namespace)
    # Without the node that has the number of the partitions nothing could be begun.
    needed = cluster.owner(slot_of(Keys(namespace).partitions))
    lost = next(node for node in cluster.nodes if node is not needed)
    theirs = [keys.partition for keys in parts if cluster.owner(slot_of(keys.tag)) is lost]
    others = [keys for keys in parts if keys.partition not in theirs]
    lost.kill()
    try:
        with pytest.raises(PartlyDone) as caught:
            cli("retention", "set", "PartSettled", "--keep")
        assert sorted([*caught.value.problems, *caught.value.untried]) == theirs
        assert list(caught.value.results) == [keys.partition for keys in others]
        with pytest.raises(PartlyDone) as caught:
            cli("archive", "--before", "now")
        assert sorted([*caught.value.problems, *caught.value.untried]) == theirs
        assert length(client, others, "PartSettled") == 0
    finally:
        lost.restart()
        wait_until(cluster.is_whole, "the node is back", 60)

    cli("retention", "set", "PartSettled", "--keep")
    found = client.run(many([("HGET", keys.retention, "PartSettled") for keys in parts]))
    assert found == [b"keep"] * COUNT
    cli("archive", "--before", "now")
    assert length(client, parts, "PartSettled") == length(client, parts, "PartMetered") == 0
    assert re.search("120 entries.*as written", cli("archive", "verify"))
