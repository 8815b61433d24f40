from datetime import timedelta

import pytest

from busredis import Daemon, Publisher, Router

FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=1)}


@pytest.fixture
def publisher(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace) as publisher:
        yield publisher


@pytest.fixture
def run(server, namespace):
    """Runs the handlers of a router until nothing is left."""

    def run_until_empty(router: Router, **options) -> None:
        Daemon(router, url=server.url, namespace=namespace, burst=True, **(FAST | options)).run()

    return run_until_empty
