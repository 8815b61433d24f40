from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import redis
from typer.testing import CliRunner

from busredis import Daemon, Publisher
from busredis.cli.app import app
from busredis.daemon import patrol, scheduler
from busredis.partitions import all_keys
from tests.clusters import TestCluster
from tests.partitions import ledger
from tests.partitions.ledger import PartSettled
from tests.servers import TestServer

COUNT = 4
FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=2)}


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


@pytest.fixture
def publisher(server, namespace, look):
    with Publisher(server.url, namespace=namespace, partitions=COUNT) as publisher:
        yield publisher


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BUSREDIS_ARCHIVE", str(tmp_path / "cold"))
    return tmp_path / "cold"


@pytest.fixture
def cli(server, namespace, monkeypatch) -> Callable[..., str]:
    """The command line, in this process: what a command prints. What it raises is raised."""
    monkeypatch.setenv("BUSREDIS_URL", server.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    monkeypatch.setenv("COLUMNS", "200")
    return run_cli


@pytest.fixture
def fast(cli, monkeypatch):
    """Daemons and shadows that find out soon."""
    for name, value in {"SWEEP": "50ms", "BLOCK": "100ms", "LEASE": "2s"}.items():
        monkeypatch.setenv(f"BUSREDIS_{name}", value)


@pytest.fixture
def publish(publisher):
    """Publishes payments to twenty accounts in turn."""
    return lambda cents: publisher.publish_many(
        [PartSettled(cents=one, aggregate_id=f"a-{n % 20}") for n, one in enumerate(cents)]
    )


@pytest.fixture
def work(server, namespace):
    """Daemons have handled everything; `factor` is the mistake that they make."""

    def work(factor=1):
        ledger.FACTOR = factor
        Daemon(ledger.router, url=server.url, namespace=namespace, burst=True, **FAST).run()
        ledger.FACTOR = 1

    return work


def run_cli(*arguments: object, given: str = "", code: int = 0) -> str:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == code, found.output
    return found.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with TestCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
