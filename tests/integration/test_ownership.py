"""Who owns an ordered handler when the server's clock steps."""

import time
from datetime import timedelta

import pytest

from busredis.client import Client
from busredis.daemon.ownership import Ownership, Share
from tests.waiting import wait_until

LEASE = timedelta(seconds=0.3)
HOUR_MS = 3_600_000


@pytest.fixture
def client(server, inspect):
    made = Client(server.url)
    yield made
    made.close()


def test_an_owner_that_died_is_replaced_also_after_the_clock_has_stepped_back(client, inspect, keys):
    dead, heir = (Ownership(keys, "g", name, LEASE, Share()) for name in ("dead", "heir"))
    assert client.run(dead.take()).is_owner
    inspect.hincrby(keys.owner("g"), "until", HOUR_MS)  # as it stands there an hour before it was written

    assert not client.run(heir.take()).is_owner
    wait_until(lambda: client.run(heir.take()).is_owner, "the lease of the dead one has ended", 5)

    assert heir.token > dead.token


def test_an_owner_keeps_its_lease_however_often_others_ask_and_the_clock_steps(client, inspect, keys):
    owner, other = (
        Ownership(keys, "g", "owner", LEASE, Share()),
        Ownership(keys, "g", "other", LEASE, Share()),
    )
    client.run(owner.take())
    until = time.monotonic() + 3 * LEASE.total_seconds()
    while time.monotonic() < until:
        inspect.hincrby(keys.owner("g"), "until", HOUR_MS)
        assert not client.run(other.take()).is_owner
        client.run(owner.renew())

    assert owner.token is not None


def test_a_hand_over_that_nobody_takes_up_holds_up_nobody_after_the_clock_has_stepped_back(
    client, inspect, keys
):
    owner, other = (
        Ownership(keys, "g", "owner", LEASE, Share()),
        Ownership(keys, "g", "other", LEASE, Share()),
    )
    client.run(owner.take())
    owner.successor = "gone"
    client.run(owner.release())
    assert not client.run(other.take()).is_owner
    inspect.hincrby(keys.owner("g"), "next_until", HOUR_MS)

    assert client.run(other.take()).is_owner
