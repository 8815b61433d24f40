import uuid
from collections.abc import Iterator

import hypothesis
import pytest
import redis

import busredis.append
import busredis.publisher.blocking
import busredis.store.blocking
import busredis.store.recorder
from busredis import Publisher
from busredis.client import Client
from busredis.keys import Keys
from tests import servers
from tests.clock import Clock
from tests.servers import TestServer, chosen_server

# How long an example takes is the machine's business: a busy one is no failure of ours.
hypothesis.settings.register_profile("busredis", deadline=None)
hypothesis.settings.load_profile("busredis")


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[TestServer]:
    _, binary = chosen_server()
    with TestServer(binary, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def namespace() -> str:
    return f"t-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def keys(namespace: str) -> Keys:
    return Keys(namespace)


@pytest.fixture
def inspect(server: TestServer, keys: Keys) -> Iterator[redis.Redis]:
    """A plain client to look and to meddle with; at the end every key must be one that Keys can name."""
    with redis.Redis(port=server.port) as client:
        yield client
        found = [key.decode() for key in client.scan_iter(f"*{keys.namespace}*", count=1000)]
        assert [key for key in found if not keys.known(key)] == []


@pytest.fixture
def client(server: TestServer) -> Iterator[Client]:
    """What the library itself talks to a server with."""
    made = Client(server.url)
    yield made
    made.close()


@pytest.fixture
def publisher(server: TestServer, namespace: str, inspect: redis.Redis) -> Iterator[Publisher]:
    with Publisher(server.url, namespace=namespace) as made:
        yield made


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Of blocking publishers and event stores: what they wait for passes at once, and can be counted."""
    made = Clock()
    for module in (
        busredis.append,
        busredis.publisher.blocking,
        busredis.store.blocking,
        busredis.store.recorder,
    ):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return servers.free_port()
