"""Daemons whose handlers count in three ways that must be exact; that a handler was run is counted too, inexactly."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import redis

from busredis import Context, Daemon, DomainEvent, Router
from busredis.inbox import Inbox

GROUPS = ("in-tasks", "in-threads", "in-sqlite")
_inbox = Inbox("in-sqlite")


class Deposited(DomainEvent):
    cents: int = 0


@contextmanager
def ledger(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=20)
    connection.execute(
        "PRAGMA synchronous = OFF"
    )  # what a killed process wrote is there; a killed machine is another test
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def create_ledger(path: Path) -> None:
    with ledger(path) as connection:
        _inbox.create(connection)
        connection.execute("CREATE TABLE ledger (events INTEGER, cents INTEGER)")
        connection.execute("INSERT INTO ledger VALUES (0, 0)")


def run(url: str, namespace: str, path: Path, *, burst: bool) -> None:
    router, client = Router(), redis.Redis.from_url(url)

    def count(event: Deposited, ctx: Context) -> None:
        ctx.effects.add("HINCRBY", ctx.view(ctx.group), "events", 1)
        ctx.effects.add("HINCRBY", ctx.view(ctx.group), "cents", event.cents)
        client.hincrby(ctx.view("runs"), ctx.group)

    async def count_in_task(event: Deposited, ctx: Context) -> None:
        count(event, ctx)

    def count_in_sqlite(event: Deposited, ctx: Context) -> None:
        client.hincrby(ctx.view("runs"), ctx.group)
        with ledger(path) as connection:
            if not _inbox.seen(connection, event.event_id):
                connection.execute("UPDATE ledger SET events = events + 1, cents = cents + ?", (event.cents,))

    router.on(Deposited, name="in-tasks", max_attempts=1_000)(count_in_task)
    router.on(Deposited, name="in-threads", max_attempts=1_000, concurrency=2)(count)
    router.on(Deposited, name="in-sqlite", max_attempts=1_000)(count_in_sqlite)
    fast = {"lease": timedelta(seconds=0.5), "sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1)}
    Daemon(router, url=url, namespace=namespace, burst=burst, **fast).run()
