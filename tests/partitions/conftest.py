from collections.abc import Callable, Iterator

import pytest
import redis
from typer.testing import CliRunner

from busredis.cli.app import app
from busredis.client import Client
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
def client(server) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


@pytest.fixture
def cli(server, namespace, monkeypatch) -> Callable[..., str]:
    """The command line, in this process: what a command prints. What it raises is raised."""
    monkeypatch.setenv("BUSREDIS_URL", server.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    monkeypatch.setenv("COLUMNS", "200")
    return run_cli


def run_cli(*arguments: object, given: str = "", code: int = 0) -> str:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == code, found.output
    return found.stdout


def meddled(flow, before):
    """A flow whose requests are seen before they are sent."""
    request = next(flow)
    while True:
        before(request)
        try:
            reply = yield request
        except Exception as error:  # noqa: BLE001
            step = lambda error=error: flow.throw(error)  # noqa: E731
        else:
            step = lambda reply=reply: flow.send(reply)  # noqa: E731
        try:
            request = step()
        except StopIteration as stop:
            return stop.value
