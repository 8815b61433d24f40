"""Forgetting on the command line."""

import json

from busredis import EventStore
from tests.privacy.test_forgetting import registered


def test_a_subject_is_forgotten(busredis, server, namespace, inspect, keys):
    with EventStore(server.url, namespace=namespace) as store:
        store.append(("Person", "ada"), 0, [registered("ada")])

    assert json.loads(busredis("forget", "ada", "--yes", "--json").stdout) == {
        "subject": "ada",
        "known": True,
    }
    assert "no key was there" in busredis("forget", "nobody", "--yes").stdout

    with EventStore(server.url, namespace=namespace) as store:
        assert [stored.event.email for stored in store.feed()] == ["[forgotten]"]
