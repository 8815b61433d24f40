from datetime import timedelta

import pytest

from busredis import Daemon, Router
from busredis.client import Client
from busredis.daemon.scheduler import append_due
from busredis.settings import Settings
from handlers import agent, governance, memory, user
from tests.proxy import Proxy

FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=1)}
#: With a lease that a test can wait for the end of.
BRIEF = FAST | {"lease": timedelta(seconds=0.5)}
#: With a lease far longer than a test takes.
LATER = FAST | {"lease": timedelta(seconds=30)}


@pytest.fixture
def run(server, namespace):
    """Runs the handlers of a router until nothing is left."""

    def run_until_empty(router: Router, url: str = server.url, **options) -> None:
        Daemon(router, url=url, namespace=namespace, burst=True, **(FAST | options)).run()

    return run_until_empty


@pytest.fixture
def proxy(server):
    with Proxy(server.port) as running:
        yield running


@pytest.fixture
def handle(publisher, server, namespace):
    """Publishes events and runs the reference handlers until nothing is left."""
    fast = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1)}

    def publish_and_run(*events) -> None:
        publisher.publish_many(events)
        routers = [module.router for module in (governance, user, memory, agent)]
        Daemon(*routers, url=server.url, namespace=namespace, burst=True, **fast).run()

    return publish_and_run


@pytest.fixture
def due(server, namespace, keys):
    """Appends what is due, as a daemon does, and says what it did."""
    client, settings = Client(server.url), Settings(url=server.url, namespace=namespace)
    yield lambda who="d", **options: client.run(append_due(keys, settings, who, **options))
    client.close()
