"""The script that applies effects: what it refuses, what it does, and that it is never in between."""

import logging
from datetime import timedelta

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from busredis import Context, Daemon, DomainEvent, Publisher, Router
from busredis.client import Client
from busredis.delivery.effects import Effects
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.errors import CommandRefused, ServerUnavailable
from busredis.keys import Keys
from tests.servers import TestServer, chosen_server, server_binary


class Entered(DomainEvent):
    cents: int = 0


FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=0.5)}


class Hand:
    """One consumer of a group, by hand."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.keys, self.stream = keys, keys.stream("Entered")
        self.client = Client(url)
        self.pending = Pending(keys, "g", "me", [self.stream])
        self.calls = 0
        self.client.run(self.pending.ensure("0-0", restore=False))

    def deliver(self) -> Delivery:
        with Publisher(self.client.shown, namespace=self.keys.namespace) as publisher:
            publisher.publish(Entered())
        [[_, [[entry_id, fields]]]] = self.client.run(self.pending.read([self.stream], 1, None))
        return Delivery(self.stream, Entered, entry_id, fields, 1, "me", 0.0)

    def effects(self, *calls) -> Outcome:
        gathered = Effects(self.keys)
        for command, view, *args in calls:
            gathered.add(command, self.keys.view(view), *args)
        return Outcome(Verdict.ACK, effects=gathered.take())

    def apply(self, *ended, number=None) -> list[str]:
        self.calls += 1
        return self.client.run(self.pending.apply(number or self.calls, ended))


@pytest.fixture
def hand(server, keys, inspect):
    hand = Hand(server.url, keys)
    yield hand
    hand.client.close()


def test_a_zombie_applies_nothing(hand, inspect, keys):
    stolen, again, mine = hand.deliver(), hand.deliver(), hand.deliver()
    inspect.xclaim(hand.stream, "g", "rival", 0, [stolen.id], justid=True)
    inspect.xclaim(hand.stream, "g", "me", 0, [again.id])  # the same consumer, but another attempt
    one = hand.effects(("INCRBY", "count", 1))

    assert hand.apply((stolen, one), (again, one), (mine, one)) == ["lost", "lost", "applied"]
    assert hand.apply((mine, one)) == ["lost"]

    assert inspect.get(keys.view("count")) == b"1"
    assert inspect.xpending(hand.stream, "g")["pending"] == 2
    inspect.xgroup_destroy(hand.stream, "g")
    assert hand.apply((again, one)) == ["lost"]
    inspect.delete(hand.stream)
    assert hand.apply((again, one)) == ["lost"]


def test_a_call_that_is_made_again_does_nothing_and_says_the_same(hand, inspect, keys):
    inspect.lpush(keys.view("list"), "a list")
    first, second, third = hand.deliver(), hand.deliver(), hand.deliver()
    inspect.xclaim(hand.stream, "g", "rival", 0, [second.id], justid=True)
    ended = [
        (first, hand.effects(("INCRBY", "count", 1))),
        (second, hand.effects(("INCRBY", "count", 1))),
        (third, hand.effects(("SET", "list\n", "x"), ("INCRBY", "list", 1))),
    ]

    answers = [hand.apply(*ended, number=7) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert [line.split()[0] for line in answers[0]] == ["applied", "lost", "refused"]
    assert inspect.get(keys.view("count")) == b"1"
    with pytest.raises(CommandRefused, match="STALE"):
        hand.apply(*ended, number=6)
    receipt = keys.once("effects:g:me")
    assert inspect.pttl(receipt) > 80_000_000


REFUSED = {
    "a key of another type": ([("HSET", "string", "f", 1)], "WRONGTYPE"),
    "a type that an effect before made": ([("SET", "new", "x"), ("SADD", "new", "x")], "effect 2, SADD"),
    "two types of one new key": ([("LPUSH", "new", "x"), ("SADD", "new", "x")], "WRONGTYPE"),
    "a counter that holds text": ([("INCRBY", "string", 1)], "no 64-bit integer"),
    "a counter that holds spaces": ([("HINCRBY", "hash", "space", 1)], "no 64-bit integer"),
    "a counter with a leading zero": ([("HINCRBY", "hash", "zero", 1)], "no 64-bit integer"),
    "a counter that is empty": ([("HINCRBY", "hash", "empty", 1)], "no 64-bit integer"),
    "a counter near its end": ([("HINCRBY", "hash", "large", 10**6)], "beyond 64 bits"),
    "a counter that effects bring there": (
        [("HINCRBY", "hash", "new", 2**62), ("HINCRBY", "hash", "new", 2**62)],
        "effect 2, HINCRBY",
    ),
    "a counter that many small effects bring there": (
        [("HINCRBY", "hash", "most", 1), *[("HINCRBY", "hash", "most", 500)] * 990],
        "beyond 64 bits",
    ),
    "text that an effect before wrote": (
        [("HSET", "hash", "n", "x"), ("HINCRBY", "hash", "n", 1)],
        "no 64-bit integer",
    ),
    "a fraction counted in integers": (
        [("HINCRBYFLOAT", "hash", "new", 0.5), ("HINCRBY", "hash", "new", 1)],
        "no 64-bit integer",
    ),
    "NaN": ([("HINCRBYFLOAT", "hash", "nan", 1)], "no number"),
    "infinity": ([("HINCRBYFLOAT", "hash", "inf", 1)], "no number"),
    "a float that is too large": ([("HINCRBYFLOAT", "hash", "huge", 1)], "beyond 64 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_server_would_refuse_is_foreseen_and_nothing_is_written(hand, inspect, keys, name):
    calls, why = REFUSED[name]
    inspect.set(keys.view("string"), "text")
    odd = {"space": " 1", "zero": "01", "empty": "", "large": 2**63 - 10**6, "nan": "nan", "inf": "inf"}
    odd["most"] = 2**63 - 1 - 300_000
    inspect.hset(keys.view("hash"), mapping={**odd, "n": "1", "huge": "1e30"})
    before = {name: inspect.dump(keys.view(name)) for name in ("string", "hash", "new")}
    delivery = hand.deliver()

    [line] = hand.apply((delivery, hand.effects(("INCRBY", "count", 1), *calls)))

    assert line.startswith("refused effect ")
    assert why.replace("effect 2", "effect 3") in line
    assert {name: inspect.dump(keys.view(name)) for name in before} == before
    assert not inspect.exists(keys.view("count"))
    assert inspect.xpending(hand.stream, "g")["pending"] == 1


ACCEPTED = {
    "text is set to a number": [("SET", "string", 5), ("INCRBY", "string", 2)],
    "a key of another type is deleted": [("DEL", "string"), ("SADD", "string", "x")],
    "a field of text is deleted": [("HDEL", "hash", "text"), ("HINCRBY", "hash", "text", 1)],
    "a field of text is set to a number": [
        ("HSET", "hash", "text", -7),
        ("HINCRBYFLOAT", "hash", "text", 0.5),
    ],
    "integers, then fractions": [("HINCRBY", "hash", "new", 3), ("HINCRBYFLOAT", "hash", "new", 0.25)],
    "whole fractions of before": [("HINCRBY", "hash", "whole", 1)],
    "an exponent of before": [("HINCRBYFLOAT", "hash", "exponent", 1)],
    "a large counter": [("INCRBY", "new", 2**62), ("INCRBY", "new", 2**62 - 10**18), ("EXPIRE", "new", 60)],
    "a list that is kept short": [("LPUSH", "new", "a", "b", "c"), ("LTRIM", "new", 0, 1)],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_effects_are_judged_after_those_before_them(hand, inspect, keys, name):
    inspect.set(keys.view("string"), "text")
    inspect.hset(keys.view("hash"), mapping={"text": "text", "whole": "3", "exponent": "1e3"})

    assert hand.apply((hand.deliver(), hand.effects(*ACCEPTED[name]))) == ["applied"]


VALUES = ["", "0", "-0", "1", "007", "+1", " 1", "1.5", "1.", ".5", "1e3", "1e-99", "0x10", "nan", "-inf"]
VALUES += ["9223372036854775807", "-9223372036854775808", "9199999999999999999", "1" * 70, "text", "\0"]
NAMES = st.sampled_from(["a", "b"])
FIELDS = st.sampled_from(["f", "g", ""])
VALUE = st.sampled_from(VALUES)
INTEGER = st.sampled_from([0, 1, -1, 2**62, -(2**62), 9_200_000_000_000_000_000])
NUMBER = st.one_of(INTEGER, st.sampled_from([0.5, -1e-7, 1e18, 5e-324]))
SCORE = st.one_of(NUMBER, st.sampled_from([float("inf"), float("-inf"), 1e308]))
SMALL = st.integers(-3, 3)
CALL = st.one_of(
    st.tuples(st.sampled_from(["SET", "SADD", "SREM", "LPUSH", "RPUSH", "ZREM"]), NAMES, VALUE),
    st.tuples(st.just("DEL"), NAMES),
    st.tuples(st.just("INCRBY"), NAMES, INTEGER),
    st.tuples(st.just("INCRBYFLOAT"), NAMES, NUMBER),
    st.tuples(st.just("HSET"), NAMES, FIELDS, VALUE),
    st.tuples(st.just("HDEL"), NAMES, FIELDS),
    st.tuples(st.just("HINCRBY"), NAMES, FIELDS, INTEGER),
    st.tuples(st.just("HINCRBYFLOAT"), NAMES, FIELDS, NUMBER),
    st.tuples(st.just("ZADD"), NAMES, st.sampled_from(["NX", "XX", "GT", "LT"]), SCORE, FIELDS),
    st.tuples(st.just("ZADD"), NAMES, SCORE, FIELDS),
    st.tuples(st.just("ZINCRBY"), NAMES, NUMBER, FIELDS),
    st.tuples(st.sampled_from(["ZREMRANGEBYRANK", "LTRIM"]), NAMES, SMALL, SMALL),
    st.tuples(st.sampled_from(["EXPIRE", "PEXPIRE"]), NAMES, st.just(10_000_000_000)),
)


@given(before=st.lists(CALL, max_size=4), calls=st.lists(CALL, min_size=1, max_size=6))
@example(before=[("HSET", "a", "f", "1" * 18)], calls=[("HINCRBY", "a", "f", 1)])
@example(before=[("ZADD", "a", float("inf"), "f")], calls=[("ZINCRBY", "a", -1e308 / 1e300, "f")])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_not_refused_is_applied_as_the_server_would_and_never_in_part(
    hand, inspect, keys, before, calls
):
    views = [keys.view(name) for name in "ab"]
    inspect.delete(*views)
    delivery, outcome = hand.deliver(), hand.effects(*calls)
    for effect in hand.effects(*before).effects:
        try_it(inspect, effect)
    start = {view: inspect.dump(view) for view in views}

    [line] = hand.apply((delivery, outcome))

    found = {view: content(inspect, view) for view in views}
    inspect.delete(*views)
    for view, dump in start.items():
        if dump:
            inspect.restore(view, 0, dump)
    unchanged = {view: content(inspect, view) for view in views}
    worked = [try_it(inspect, effect) for effect in outcome.effects]
    assert line.split()[0] in ("applied", "refused")
    if line == "applied":
        assert worked == [True] * len(calls)
        assert found == {view: content(inspect, view) for view in views}
    else:
        assert found == unchanged


def try_it(inspect, effect) -> bool:
    try:
        inspect.execute_command(effect.command, effect.key, *effect.args)
    except redis.ResponseError:
        return False
    return True


def content(inspect, view):
    kind = inspect.type(view)
    read = {
        b"none": lambda _: None,
        b"string": inspect.get,
        b"hash": inspect.hgetall,
        b"set": inspect.smembers,
        b"list": lambda key: inspect.lrange(key, 0, -1),
        b"zset": lambda key: inspect.zrange(key, 0, -1, withscores=True),
    }
    return kind, read[kind](view)


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
        Daemon(router, url=url, burst=True, **FAST).run()

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
            Daemon(router, url=server.url.replace("127.0.0.1", "bus:x@127.0.0.1"), burst=True, **FAST).run()

        assert runs == [1]
        assert inspect.get(Keys().view("n")) == b"1"
        told = [record.message for record in caplog.records if "in part" in record.message]
        assert len(told) == 1
        assert "effect 2, RPUSH" in told[0]
