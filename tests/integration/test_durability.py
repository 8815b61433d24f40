"""What a confirmation means with durability="fsync" and "replica": on disk, on a replica, and of the server that has it."""

import time
from datetime import timedelta

import pytest

from busredis import DomainEvent, Publisher
from busredis.append import Appender
from busredis.errors import PublishRefused
from busredis.keys import Keys
from tests.proxy import Proxy
from tests.servers import TestServer, chosen_server
from tests.waiting import wait_until


class Kept(DomainEvent):
    number: int = 0


STREAM = Keys("d").stream("Kept")


def server_in(folder, **options) -> TestServer:
    return TestServer(chosen_server()[1], folder, repl_diskless_sync_delay="0", **options)


def with_replica(server: TestServer, replica: TestServer, ask) -> None:
    ask(replica, "REPLICAOF", "127.0.0.1", server.port)
    wait_until(
        lambda: ask(replica, "INFO", "replication")["master_link_status"] == "up", "the replica is in step"
    )


@pytest.fixture
def ask():
    import redis

    def run(server: TestServer, *command: object) -> object:
        with redis.Redis(port=server.port) as client:
            return client.execute_command(*command)

    return run


@pytest.mark.parametrize("durability", ["memory", "replica"])
def test_an_append_is_confirmed_only_by_a_server_that_has_it(tmp_path, ask, monkeypatch, durability):
    """Between the answer to an append and the question whether it is safe, another server takes over."""
    servers = [server_in(tmp_path / name) for name in ("old", "old-replica", "new", "new-replica")]
    old, old_replica, new, new_replica = (server.start() for server in servers)
    try:
        with_replica(old, old_replica, ask)
        with_replica(new, new_replica, ask)
        with (
            Proxy(old.port) as proxy,
            Publisher(proxy.url, namespace="d", durability=durability) as publisher,
        ):
            publisher.publish(Kept(number=1))
            confirm = Appender.make_durable

            def switch(self, *args, **options):
                monkeypatch.setattr(Appender, "make_durable", confirm)
                proxy.redirect(new.port)
                return (yield from confirm(self, *args, **options))

            monkeypatch.setattr(Appender, "make_durable", switch)
            publisher.publish(Kept(number=2))

            expected = new if durability == "replica" else old
            assert [b'"number":2' in fields[1] for _, fields in raw_entries(expected)][-1:] == [True]
    finally:
        for server in servers:
            server.kill()


def raw_entries(server: TestServer):
    import redis

    with redis.Redis(port=server.port) as client:
        return [
            (i, [part for pair in fields.items() for part in pair]) for i, fields in client.xrange(STREAM)
        ]


def test_with_appendfsync_always_a_confirmation_means_on_disk_on_every_server(tmp_path, ask):
    with server_in(tmp_path, appendfsync="always") as server:
        with Publisher(server.url, namespace="d", durability="fsync") as publisher:
            publisher.publish_many([Kept(number=n) for n in range(3)])

        assert ask(server, "XLEN", STREAM) == 3


def test_a_waitaof_that_answers_before_the_sync_is_not_believed(tmp_path, ask):
    """With everysec a sync begins once a second, so two writes cannot both be on disk within a moment."""
    with server_in(tmp_path, appendfsync="everysec") as server:
        timeout = timedelta(seconds=5)
        with Publisher(server.url, namespace="d", durability="fsync", publish_timeout=timeout) as publisher:
            began, confirmed = time.monotonic(), 0
            try:
                for number in range(3):
                    publisher.publish(Kept(number=number))
                    confirmed += 1
            except PublishRefused as error:
                assert "appendfsync always" in str(error)
                assert "WAITAOF" in str(error)
            took = time.monotonic() - began

        assert confirmed == ask(server, "XLEN", STREAM)
        assert confirmed == 0 or took > 1


def test_durability_fsync_is_refused_where_there_is_no_append_only_file(tmp_path, ask):
    with (
        server_in(tmp_path, appendonly=False) as server,
        Publisher(server.url, namespace="d", durability="fsync") as publisher,
        pytest.raises(PublishRefused, match="appendonly"),
    ):
        publisher.publish(Kept())
