"""What can be an effect at all: refused where it is added, before anything is sent."""

import enum

import pytest

from busredis.delivery import effects
from busredis.delivery.context import Context
from busredis.delivery.effects import Effects, portions
from busredis.delivery.model import ACK, Delivery, Effect, Outcome, Verdict
from busredis.errors import EffectRefused
from busredis.keys import Keys

KEYS = Keys("shop", 3)
VIEW = KEYS.view("v")


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


GOOD = [
    (("set", VIEW, "x"), (b"x",)),
    (("DEL", VIEW), ()),
    (("INCRBY", VIEW, -5), (b"-5",)),
    (("HINCRBY", VIEW, Colour.RED, Number.SEVEN), (b"red", b"7")),
    (("HINCRBYFLOAT", VIEW, b"\xff", 0.5), (b"\xff", b"0.5")),
    (("HSET", VIEW, "a", 1, "b", 2.5), (b"a", b"1", b"b", b"2.5")),
    (("ZADD", VIEW, "GT", 1, "a", float("inf"), "b"), (b"GT", b"1", b"a", b"inf", b"b")),
    (("ZREMRANGEBYRANK", VIEW, 0, -101), (b"0", b"-101")),
    (("PEXPIRE", VIEW, 1), (b"1",)),
    (("SADD", f"{KEYS.tag}:mine", ""), (b"",)),
]

BAD = {
    "a script": (("EVAL", VIEW, "return 1"), "none of the commands"),
    "a stored script": (("EVALSHA", VIEW, "0" * 40), "none of the commands"),
    "a command that blocks": (("BLPOP", VIEW, 0), "none of the commands"),
    "one that waits": (("WAIT", VIEW, 1), "none of the commands"),
    "one that reads": (("GET", VIEW), "none of the commands"),
    "one on every key": (("FLUSHALL", VIEW), "none of the commands"),
    "one that acknowledges": (("XACK", VIEW, "g", "1-0"), "none of the commands"),
    "no command": ((3, VIEW), "none of the commands"),
    "a key of another partition": (("SET", Keys("shop", 4).view("v"), "x"), "not in the event's partition"),
    "a key of another namespace": (("SET", "{shop}:view:v", "x"), "not in the event's partition"),
    "a tag that is not at the start": (("SET", f"x{KEYS.tag}:v", "x"), "not in the event's partition"),
    "a stream": (("DEL", KEYS.stream("Paid")), "a key of busredis itself"),
    "the clock": (("SET", KEYS.clock, "1-0"), "a key of busredis itself"),
    "dead letters": (("DEL", KEYS.dead("g")), "a key of busredis itself"),
    "a key that is no text": (("DEL", b"x"), "must be a str"),
    "no value": (("SET", VIEW), "takes 1 arguments"),
    "options of SET": (("SET", VIEW, "x", "EX", 5), "takes 1 arguments"),
    "a field without its value": (("HSET", VIEW, "a", 1, "b"), "a multiple of 2"),
    "nothing to add": (("SADD", VIEW), "a multiple of 1"),
    "too many at once": (("SADD", VIEW, *range(1_001)), "at most 1000"),
    "two options of ZADD": (("ZADD", VIEW, "GT", "XX", 1, "a"), "a multiple of 2"),
    "an option of ZADD that changes its reply": (("ZADD", VIEW, "INCR", 1, "a"), "a multiple of 2"),
    "None": (("HSET", VIEW, "a", None), "not NoneType"),
    "a bool": (("HSET", VIEW, "a", True), "not bool"),
    "a dict": (("SET", VIEW, {}), "not dict"),
    "text that is no UTF-8": (("SET", VIEW, "\ud800"), "cannot be written"),
    "a key that is no UTF-8": (("SET", f"{VIEW}\ud800", "x"), "cannot be written"),
    "a count that is no number": (("HINCRBY", VIEW, "a", "1"), "an int"),
    "a count that is a fraction": (("INCRBY", VIEW, 1.5), "an int"),
    "a count beyond 64 bits": (("INCRBY", VIEW, 2**63), "within 64 bits"),
    "NaN": (("HINCRBYFLOAT", VIEW, "a", float("nan")), "a finite number"),
    "infinity": (("ZINCRBY", VIEW, float("inf"), "a"), "a finite number"),
    "a score that is NaN": (("ZADD", VIEW, float("nan"), "a"), "a number"),
    "a score beyond a double": (("ZADD", VIEW, 10**400, "a"), "that a double can hold"),
    "an expiry in the past": (("EXPIRE", VIEW, 0), "a positive int"),
    "an expiry beyond the clock": (("PEXPIRE", VIEW, 2**63 - 1), "a positive int"),
}


@pytest.mark.parametrize(("call", "sent"), GOOD, ids=[call[0] for call, _ in GOOD])
def test_an_effect_is_ready_to_be_sent_when_it_is_added(call, sent):
    gathered = Effects(KEYS)

    gathered.add(*call)

    assert gathered.take() == (Effect(call[0].upper(), call[1], sent),)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_effect_is_refused_and_leaves_the_others(name):
    call, why = BAD[name]
    gathered = Effects(KEYS)
    gathered.add("DEL", VIEW)

    with pytest.raises(EffectRefused, match=why):
        gathered.add(*call)

    assert gathered.take() == (Effect("DEL", VIEW, ()),)


def test_the_table_in_the_documentation_names_every_command():
    named = {word.strip("`") for word in effects.__doc__.split() if word.startswith("`")}

    assert named >= set(effects._FORMS)


def test_effects_are_bounded_in_number_and_in_bytes():
    many, large = Effects(KEYS), Effects(KEYS)
    for _ in range(effects.MAX_EFFECTS):
        many.add("DEL", VIEW)
    large.add("SET", VIEW, "x" * (effects.MAX_BYTES - 100))

    with pytest.raises(EffectRefused, match="more than"):
        many.add("DEL", VIEW)
    with pytest.raises(EffectRefused, match="more than"):
        large.add("SET", VIEW, "x" * 100)


def test_nothing_can_be_added_after_the_handler_has_ended():
    gathered = Effects(KEYS)
    gathered.take()

    with pytest.raises(EffectRefused, match="has ended"):
        gathered.add("DEL", VIEW)


def test_without_a_server_there_are_no_effects():
    with pytest.raises(RuntimeError, match="in-memory"):
        Context("1-0", "s", "g", 1, 1).effects.add("DEL", VIEW)


def ended(*sizes):
    delivery = Delivery("s", None, b"1-0", [], 1, "c", 0.0)
    return [
        (delivery, Outcome(Verdict.ACK, effects=tuple(Effect("SET", "", (b"x" * size,)) for size in group)))
        for group in sizes
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (ended([1], [1]), [2]),
        (ended([1] * 400, [1] * 100, [1]), [2, 1]),
        (ended([1] * 1000, [1]), [1, 1]),
        (ended([8_000_000], [8_000_000], [1]), [1, 2]),
    ],
)
def test_as_many_deliveries_share_a_call_as_it_should_carry(given, expected):
    assert [len(portion) for portion in portions(given)] == expected
    assert [one for portion in portions(given) for one in portion] == given


def test_a_delivery_without_effects_ends_as_before():
    assert ACK.effects == ()
