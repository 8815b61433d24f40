"""Daemons that rest: running them, and what the servers say about how much they ask for."""

import threading
from contextlib import contextmanager
from datetime import timedelta

from busredis import Daemon
from tests.waiting import wait_until

#: With these nothing but a change that is told wakes a daemon within the time of a test.
LONG = {"block": timedelta(seconds=60), "sweep": timedelta(seconds=60), "lease": timedelta(seconds=60)}


@contextmanager
def running(router, url, namespace, **options):
    daemon = Daemon(router, url=url, namespace=namespace, **options)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        yield daemon
    finally:
        if thread.is_alive():
            daemon.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()


def calls(client, *names) -> int:
    """How often these commands were called on a server."""
    found = client.info("commandstats")
    return sum(row["calls"] for name, row in found.items() if name.removeprefix("cmdstat_") in names)


def told(client) -> list[int]:
    """The connections on which the server says what changes."""
    return [int(row["id"]) for row in client.client_list() if "t" in row["flags"]]


def tracked(client) -> int:
    return client.info("stats")["tracking_total_keys"]


def wait_for_rest(client, least: int, before: int = 0, *more) -> None:
    """Until so many keys more are asked for of all servers, and nobody reads any more."""
    clients = [client, *more]
    wait_until(lambda: sum(map(tracked, clients)) >= before + least, f"{least} keys are asked for")
    seen = []

    def is_still() -> bool:
        # Who asks again and again does so every few ms: looks at this are further apart.
        seen.append(sum(calls(one, "xreadgroup", "xread", "exists") for one in clients))
        return len(seen) > 30 and seen[-1] == seen[-30]

    wait_until(is_still, "nobody reads any more")
