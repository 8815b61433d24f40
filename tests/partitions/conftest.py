from collections.abc import Iterator

import pytest
import redis

from busredis.daemon import patrol, scheduler
from busredis.partitions import all_keys
from tests.servers import TestServer

COUNT = 4


@pytest.fixture
def parts(namespace):
    """The keys of each of four partitions."""
    return all_keys(namespace, COUNT)


@pytest.fixture
def look(server: TestServer, parts) -> Iterator[redis.Redis]:
    """A plain client; at the end every key must be one that the keys of a partition can name."""
    with redis.Redis(port=server.port) as client:
        yield client
        found = [key.decode() for key in client.scan_iter(f"*{parts[0].namespace}*", count=1000)]
        assert [key for key in found if not any(keys.known(key) for keys in parts)] == []


@pytest.fixture
def never_looks(monkeypatch):
    """There is no look at what nobody tells."""
    monkeypatch.setattr(patrol, "_SWEEPS", 1_000_000)
    monkeypatch.setattr(scheduler, "_REST", 1_000_000.0)
