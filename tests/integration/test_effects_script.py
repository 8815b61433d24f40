"""The script that applies effects: what it refuses, what it does, and that it is never in between."""

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from busredis.errors import CommandRefused
from tests.integration.hand import Hand


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
