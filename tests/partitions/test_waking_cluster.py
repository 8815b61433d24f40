"""Daemons that rest on a cluster: they are told by whoever has the slot."""

from contextlib import ExitStack, contextmanager

import pytest
import redis

from busredis import DomainEvent, Publisher, Router
from busredis.cluster import slot_of
from busredis.partitions import all_keys
from tests.clusters import ask, kill_the_owner, move_slots
from tests.partitions.resting import LONG, running, tracked, wait_for_rest
from tests.waiting import wait_until

COUNT = 12


class Roused(DomainEvent):
    number: int = 0


@pytest.fixture
def parts(namespace):
    return all_keys(namespace, COUNT)


@contextmanager
def resting(cluster, namespace, seen):
    """A daemon that rests, and is woken by nothing but what it is told."""
    router = Router()
    router.on(Roused, name="rests")(lambda event: seen.append(event.number))
    with ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in cluster.masters_now()]
        before = sum(map(tracked, clients))
        stack.enter_context(running(router, cluster.url, namespace, partitions=COUNT, **LONG))
        wait_for_rest(clients[0], 2 * COUNT, before, *clients[1:])
        yield


@pytest.mark.usefixtures("never_looks")
def test_who_rests_is_told_by_the_node_that_a_slot_has_moved_to(cluster, namespace, parts):
    seen = []
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        with resting(cluster, namespace, seen):
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40)])
            wait_until(lambda: sorted(seen) == list(range(40)), "all is handled")
            move_slots(cluster, parts[:4])
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40, 80)])
            wait_until(lambda: sorted(seen) == list(range(80)), "all is handled where it is now")
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(80, 120)])
            wait_until(lambda: sorted(seen) == list(range(120)), "and again")


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("never_looks")
def test_who_rests_is_told_after_a_master_has_given_its_place_to_its_replica(cluster, namespace, parts):
    seen = []
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT) as publisher:
        with resting(cluster, namespace, seen):
            master = cluster.owner(slot_of(parts[2].tag))
            replica = next(
                node for node in cluster.nodes if cluster.role(node).get("master_port") == master.port
            )
            ask(replica, "CLUSTER", "FAILOVER")
            wait_until(lambda: cluster.owner(slot_of(parts[2].tag)) is replica, "the replica is the master")
            wait_until(cluster.is_whole, "the old master is a replica", 60)
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40)])
            wait_until(lambda: sorted(seen) == list(range(40)), "all is handled")
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40, 80)])
            wait_until(lambda: sorted(seen) == list(range(80)), "and again")


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("never_looks")
def test_who_rests_is_told_by_the_master_that_takes_the_place_of_another(cluster, namespace, parts):
    seen = []
    with Publisher(cluster.url, namespace=namespace, partitions=COUNT, durability="replica") as publisher:
        with resting(cluster, namespace, seen):
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40)])
            wait_until(lambda: sorted(seen) == list(range(40)), "all is handled")
            kill_the_owner(cluster, slot_of(parts[2].tag))
            publisher.publish_many([Roused(number=n, aggregate_id=f"a-{n}") for n in range(40, 80)])
            wait_until(lambda: set(seen) == set(range(80)), "all is handled", 60)
