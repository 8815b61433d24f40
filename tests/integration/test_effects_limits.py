"""Effects on a server that has no memory left, or refuses them to the user: foreseen, or told and never repeated."""

import logging

import pytest
import redis

from busredis import Context, Daemon, Publisher, Router
from busredis.errors import ServerUnavailable
from busredis.keys import Keys
from tests.integration.conftest import BRIEF
from tests.integration.hand import Entered, Hand
from tests.servers import TestServer, chosen_server, server_binary


def test_without_memory_nothing_is_done_until_there_is_some(tmp_path):
    _, binary = chosen_server()
    with TestServer(binary, tmp_path) as server, redis.Redis(port=server.port) as inspect:
        hand = Hand(server.url, Keys())
        ended = [(hand.deliver(), hand.effects(("SET", "a", n), ("SET", "b", n))) for n in range(2)]
        before = sorted(inspect.keys())
        inspect.config_set("maxmemory", 1)
        with pytest.raises(ServerUnavailable, match="OOM"):
            hand.apply(*ended)
        assert sorted(inspect.keys()) == before
        inspect.config_set("maxmemory", 0)

        assert hand.apply(*ended) == ["applied", "applied"]
        assert inspect.mget(Keys().view("a"), Keys().view("b")) == [b"1", b"1"]
        hand.client.close()


def restricted(server: TestServer, inspect: redis.Redis) -> Hand:
    """A hand of a user who may do everything but RPUSH."""
    inspect.acl_setuser(
        "bus", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-rpush"], categories=[]
    )
    return Hand(server.url.replace("127.0.0.1", "bus:x@127.0.0.1"), Keys())


@pytest.mark.parametrize("name", ["chosen", "redis-6.2"])
def test_what_a_user_may_not_do_is_foreseen_where_the_server_can_tell(tmp_path, name):
    binary = chosen_server()[1] if name == "chosen" else server_binary(name)
    with TestServer(binary, tmp_path) as server, redis.Redis(port=server.port) as inspect:
        plain = Hand(server.url, Keys())
        deliveries = [plain.deliver() for _ in range(3)]
        hand = restricted(server, inspect)
        good, bad = hand.effects(("INCRBY", "n", 1)), hand.effects(("INCRBY", "n", 10), ("RPUSH", "s", 1))

        lines = hand.apply((deliveries[0], good), (deliveries[1], bad), (deliveries[2], good))
        again = hand.apply((deliveries[1], bad))

        foresees = name == "chosen" and inspect.info("server")["redis_version"] >= "7"
        whats = [line.split()[0] for line in [*lines, *again]]
        assert whats == [
            "applied",
            *(["refused"] if foresees else ["torn"]),
            "applied",
            *(["refused"] if foresees else ["lost"]),
        ]
        assert inspect.get(Keys().view("n")) == (b"2" if foresees else b"12")
        for each in (plain, hand):
            each.client.close()


def test_only_whose_effects_the_server_does_not_take_has_failed(tmp_path):
    # The whole call is refused for a key that the user may not touch; the others of the call must not fail for it.
    _, binary = chosen_server()
    with TestServer(binary, tmp_path) as server, redis.Redis(port=server.port) as inspect:
        inspect.acl_setuser("bus", enabled=True, nopass=True, commands=["+@all"])
        inspect.execute_command("ACL", "SETUSER", "bus", "~{busredis}:[^v]*", "~{busredis}:view:count")
        url = server.url.replace("127.0.0.1", "bus:x@127.0.0.1")
        router = Router()

        @router.on(Entered, name="mixed", max_attempts=1)
        async def mixed(event: Entered, ctx: Context) -> None:
            ctx.effects.add("INCRBY", ctx.view("count"), 1)
            if event.cents == 3:
                ctx.effects.add("INCRBY", ctx.view("secret"), 1)

        with Publisher(server.url) as publisher:
            publisher.publish_many([Entered(cents=n) for n in range(6)])
        Daemon(router, url=url, burst=True, **BRIEF).run()

        assert inspect.get(Keys().view("count")) == b"5"
        [(_, letter)] = inspect.xrange(Keys().dead("mixed"))
        assert letter[b"reason"] == b"effects"
        assert b'"cents":3' in letter[b"entry:event"]


def test_effects_that_were_applied_in_part_are_told_and_never_repeated(tmp_path, caplog):
    with TestServer(server_binary("redis-6.2"), tmp_path) as server, redis.Redis(port=server.port) as inspect:
        router, runs = Router(), []

        @router.on(Entered, name="torn", max_attempts=3, backoff=0.01)
        async def torn(event: Entered, ctx: Context) -> None:
            runs.append(ctx.attempt)
            ctx.effects.add("INCRBY", ctx.view("n"), 1)
            ctx.effects.add("RPUSH", ctx.view("s"), 1)

        restricted(server, inspect).client.close()
        with Publisher(server.url) as publisher:
            publisher.publish(Entered())
        with caplog.at_level(logging.ERROR):
            Daemon(router, url=server.url.replace("127.0.0.1", "bus:x@127.0.0.1"), burst=True, **BRIEF).run()

        assert runs == [1]
        assert inspect.get(Keys().view("n")) == b"1"
        told = [record.message for record in caplog.records if "in part" in record.message]
        assert len(told) == 1
        assert "effect 2, RPUSH" in told[0]
