"""The inbox in a SQLite database: an effect is there if and only if its event is."""

import sqlite3
import threading
from datetime import timedelta

import pytest

from busredis.inbox import Inbox


@pytest.fixture
def connection(tmp_path):
    connection = sqlite3.connect(tmp_path / "ledger.db", timeout=10)
    with connection:
        Inbox("ledger").create(connection)
        Inbox("ledger").create(connection)
        connection.execute("CREATE TABLE total (cents INTEGER)")
        connection.execute("INSERT INTO total VALUES (0)")
    yield connection
    connection.close()


def book(connection, inbox, event_id, cents, error=None):
    with connection:
        if inbox.seen(connection, event_id):
            return False
        connection.execute("UPDATE total SET cents = cents + ?", (cents,))
        if error:
            raise error
        return True


def total(connection):
    return connection.execute("SELECT cents FROM total").fetchone()[0]


def test_an_event_is_seen_once_by_each_handler(connection):
    ledger, other = Inbox("ledger"), Inbox("other")

    assert [book(connection, ledger, n, 1) for n in (1, 2, 1, 1)] == [True, True, False, False]
    assert book(connection, other, 1, 1)

    assert total(connection) == 3


def test_an_event_whose_transaction_failed_was_not_seen(connection):
    inbox = Inbox("ledger")

    with pytest.raises(ValueError, match="no"):
        book(connection, inbox, 1, 7, ValueError("no"))

    assert total(connection) == 0
    assert book(connection, inbox, 1, 7)
    assert total(connection) == 7


def test_two_at_the_same_moment_book_it_once(connection, tmp_path):
    booked, start = [], threading.Barrier(4)

    def work():
        own = sqlite3.connect(tmp_path / "ledger.db", timeout=30)
        for event_id in range(50):
            start.wait(10)
            booked.append(book(own, Inbox("ledger"), event_id, 1))
        own.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(booked) == [False] * 150 + [True] * 50
    assert total(connection) == 50


def test_what_is_older_than_the_window_is_forgotten(connection):
    ledger, other = Inbox("ledger"), Inbox("other")
    for inbox in (ledger, other):
        book(connection, inbox, 1, 1)

    assert ledger.forget(connection, timedelta(hours=1)) == 0
    assert not book(connection, ledger, 1, 1)
    assert ledger.forget(connection, timedelta(seconds=-1)) == 1
    assert book(connection, ledger, 1, 1)
    assert not book(connection, other, 1, 1)


@pytest.mark.parametrize("wrong", [{"table": "x; DROP TABLE y"}, {"table": ""}, {"mark": "$1"}])
def test_what_cannot_stand_in_a_statement_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Inbox("ledger", **wrong)


def test_outside_of_a_transaction_nothing_is_seen(tmp_path):
    connection = sqlite3.connect(tmp_path / "own.db", isolation_level=None)
    inbox = Inbox("ledger")
    inbox.create(connection)

    with pytest.raises(RuntimeError, match="begin a transaction"):
        inbox.seen(connection, 1)
    connection.execute("BEGIN")
    assert not inbox.seen(connection, 1)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    assert inbox.seen(connection, 1)
    connection.close()
