"""Exactly once in a database of yours: the effect and the id of its event, committed together."""

import re
import time
from datetime import timedelta
from typing import Any, Protocol

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class _Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def execute(self, statement: str, parameters: Any = ..., /) -> object: ...


class Connection(Protocol):
    """A connection of the Python DB-API (https://peps.python.org/pep-0249/)."""

    def cursor(self) -> Any: ...


class Inbox:
    """The events that a handler has handled, in a table of the database that has its effects.

    For databases with INSERT ... ON CONFLICT DO NOTHING: SQLite, PostgreSQL. `mark` is how the driver writes a parameter:
    "?" for sqlite3, "%s" for psycopg. Every method is a part of the caller's transaction and commits nothing.
    """

    def __init__(self, group: str, *, mark: str = "?", table: str = "busredis_inbox") -> None:
        if not _NAME.fullmatch(table) or mark not in ("?", "%s"):
            raise ValueError(f"table {table!r} must be a plain name, mark {mark!r} one of '?' and '%s'")
        self._group = group
        self._create = (
            f"CREATE TABLE IF NOT EXISTS {table} (handler TEXT NOT NULL, event_id TEXT NOT NULL, "
            "at_ms BIGINT NOT NULL, PRIMARY KEY (handler, event_id))"
        )
        self._insert = (
            f"INSERT INTO {table} (handler, event_id, at_ms) VALUES ({mark}, {mark}, {mark}) "  # noqa: S608 - checked
            "ON CONFLICT DO NOTHING"
        )
        self._delete = f"DELETE FROM {table} WHERE handler = {mark} AND at_ms < {mark}"  # noqa: S608 - checked

    def create(self, connection: Connection) -> None:
        """Creates the table if it is missing."""
        connection.cursor().execute(self._create)

    def seen(self, connection: Connection, event_id: object) -> bool:
        """Whether a committed transaction has seen this event; if not, this one has, should it be committed.

        While another transaction that has seen it is open, the database lets this one wait for its end, or refuses it
        (SQLite: "database is locked"), so two can never both go on. Raises RuntimeError outside of a transaction: it
        would be seen although its effect fails.
        """
        if _commits_by_itself(connection):
            raise RuntimeError("the connection commits each statement by itself: begin a transaction first")
        cursor: _Cursor = connection.cursor()
        cursor.execute(self._insert, (self._group, str(event_id), _now_ms()))
        return cursor.rowcount == 0

    def forget(self, connection: Connection, older_than: timedelta) -> int:
        """Forgets what was seen so long ago; returns how many.

        An event that comes again later than that is handled again: keep it for longer than entries wait, are taken back
        from the dead letters or are replayed.
        """
        cursor: _Cursor = connection.cursor()
        cursor.execute(self._delete, (self._group, _now_ms() - int(older_than.total_seconds() * 1000)))
        return cursor.rowcount


def _commits_by_itself(connection: Any) -> bool:
    if hasattr(connection, "in_transaction"):  # sqlite3: `autocommit` is there from Python 3.12
        by_itself = connection.isolation_level is None or getattr(connection, "autocommit", False) is True
        return by_itself and not connection.in_transaction
    if getattr(connection, "autocommit", False) is not True:
        return False
    info = getattr(connection, "info", None)  # psycopg: 0 is idle
    return int(getattr(info, "transaction_status", 0)) == 0


def _now_ms() -> int:
    return int(time.time() * 1000)
