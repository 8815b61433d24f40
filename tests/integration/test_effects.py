"""Effects over a real server: applied with the acknowledgement, all of them or none, once."""

import asyncio
import threading
from datetime import timedelta
from functools import partial

import pytest

from busredis import Context, DomainEvent, Reject, Retry, Router, Skip
from busredis.lua import load
from tests.integration.conftest import BRIEF
from tests.proxy import Proxy
from tests.waiting import wait_until


class Booked(DomainEvent):
    account: str = "a"
    cents: int = 0


@pytest.fixture
def run(run):
    return partial(run, **BRIEF)


@pytest.fixture
def publish(publisher):
    return publisher.publish_many


def server_ms(inspect) -> float:
    seconds, microseconds = inspect.time()
    return seconds * 1000 + microseconds / 1000


def outcomes(inspect, keys, group):
    found = inspect.hgetall(keys.stats(group))
    return {k.decode()[8:]: int(v) for k, v in found.items() if k.startswith(b"outcome:")}


def count(event: Booked, ctx: Context) -> None:
    ctx.effects.add("HINCRBY", ctx.view("totals"), event.account, event.cents)
    ctx.effects.add("INCRBY", ctx.view("count"), 1)


async def count_async(event: Booked, ctx: Context) -> None:
    count(event, ctx)


@pytest.mark.parametrize("handler", [count, count_async])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_effects_are_applied_once_for_each_event(run, publish, inspect, keys, handler, concurrency):
    router = Router()
    router.on(Booked, name="counts", concurrency=concurrency)(handler)
    publish([Booked(account=f"a{n % 3}", cents=n) for n in range(900)])

    run(router)

    expected = {f"a{a}".encode(): str(sum(range(a, 900, 3))).encode() for a in range(3)}
    assert inspect.hgetall(keys.view("totals")) == expected
    assert inspect.get(keys.view("count")) == b"900"
    assert inspect.xpending(keys.stream("Booked"), "counts")["pending"] == 0
    assert outcomes(inspect, keys, "counts") == {"ack": 900}


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_effects_are_applied_once_however_often_the_entry_is_taken_away(
    run, publish, inspect, keys, caplog, colour
):
    router, attempts = Router(), []

    def handle(event: Booked, ctx: Context) -> None:
        count(event, ctx)
        attempts.append(ctx.attempt)
        if len(attempts) <= 3:  # another consumer takes the entry over while this one works on it
            inspect.xclaim(ctx.stream, ctx.group, "thief", 0, [ctx.entry_id], justid=True)

    async def handle_async(event: Booked, ctx: Context) -> None:
        handle(event, ctx)

    router.on(Booked, name="robbed", max_attempts=9)(handle if colour == "sync" else handle_async)
    publish([Booked(cents=7)])

    run(router)

    assert len(attempts) == 4
    assert inspect.hgetall(keys.view("totals")) == {b"a": b"7"}
    assert inspect.get(keys.view("count")) == b"1"
    assert outcomes(inspect, keys, "robbed") == {"lost": 3, "ack": 1}
    assert sum("lease was lost" in record.message for record in caplog.records) == 3


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(ValueError, 2), (Retry, 2), (Skip, 1), (lambda: Reject("no"), 1), (asyncio.CancelledError, 2)],
    ids=["error", "retry", "skip", "reject", "cancelled"],
)
def test_the_effects_of_a_handler_that_raises_are_dropped(run, publish, inspect, keys, error, attempts):
    router, seen = Router(), []

    @router.on(Booked, name="raises", max_attempts=2, backoff=0.01)
    async def raises(event: Booked, ctx: Context) -> None:
        count(event, ctx)
        seen.append(ctx.attempt)
        raise error()

    publish([Booked(cents=7)])

    run(router)

    assert len(seen) == attempts
    assert not inspect.exists(keys.view("totals"), keys.view("count"))
    assert inspect.xpending(keys.stream("Booked"), "raises")["pending"] == 0


def test_the_effects_of_a_handler_over_its_timeout_are_dropped(run, publish, inspect, keys):
    router, release = Router(), threading.Event()

    @router.on(Booked, name="late", max_attempts=1, timeout=0.1)
    def late(event: Booked, ctx: Context) -> None:
        count(event, ctx)
        release.wait(20)

    publish([Booked(cents=7)])

    run(router)
    release.set()

    assert inspect.xlen(keys.dead("late")) == 1
    assert not inspect.exists(keys.view("totals"), keys.view("count"))


def test_lost_replies_neither_repeat_effects_nor_count_as_lost_leases(
    server, run, publish, inspect, keys, caplog
):
    router = Router()

    @router.on(Booked, name="counts", concurrency=2)
    def handle(event: Booked, ctx: Context) -> None:
        count(event, ctx)

    with Proxy(server.port) as proxy:
        for _ in range(5):
            proxy.cut_before_reply(1, needle=load("effects").sha.encode())
            publish([Booked(cents=3) for _ in range(20)])
            run(router, proxy.url)
        assert proxy.lost_replies == 5

    assert inspect.hgetall(keys.view("totals")) == {b"a": b"300"}
    assert outcomes(inspect, keys, "counts") == {"ack": 100}
    assert not [record for record in caplog.records if "lease was lost" in record.message]


def test_an_effect_that_cannot_be_applied_fails_its_attempt_alone(run, publish, inspect, keys):
    router, attempts = Router(), []

    @router.on(Booked, name="partly", max_attempts=2, backoff=0.01)
    async def partly(event: Booked, ctx: Context) -> None:
        attempts.append(event.cents)
        ctx.effects.add("INCRBY", ctx.view("count"), event.cents)
        if event.cents == 5:
            ctx.effects.add("SADD", ctx.view("list"), "x")

    inspect.lpush(keys.view("list"), "a list")
    publish([Booked(cents=n) for n in range(10)])

    run(router)

    assert sorted(attempts) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert inspect.get(keys.view("count")) == str(sum(range(10)) - 5).encode()
    [(_, letter)] = inspect.xrange(keys.dead("partly"))
    assert (letter[b"reason"], letter[b"attempts"]) == (b"effects", b"2")
    assert letter[b"error"].startswith(b"EffectRefused: effect 2, SADD ")
    assert letter[b"error"].endswith(b":view:list: WRONGTYPE the key is a list")


def test_what_add_refuses_is_a_failure_with_its_place(run, publish, inspect, keys):
    router = Router()

    @router.on(Booked, name="wrong", max_attempts=1)
    def wrong(event: Booked, ctx: Context) -> None:
        count(event, ctx)
        ctx.effects.add("EVAL", ctx.view("x"), "return 1")

    publish([Booked(cents=7)])

    run(router)

    [(_, letter)] = inspect.xrange(keys.dead("wrong"))
    assert b"EVAL is none of the commands" in letter[b"error"]
    assert b"in wrong" in letter[b"traceback"]
    assert not inspect.exists(keys.view("totals"), keys.view("count"))


def test_seen_finds_what_was_published_twice_and_forgets_after_the_window(run, publish, inspect, keys):
    router, handled = Router(), []

    @router.on(Booked, name="filters", max_attempts=2, backoff=0.01)
    async def filters(event: Booked, ctx: Context) -> None:
        if await ctx.seen(event.event_id, timedelta(seconds=90)):
            return
        handled.append(event.cents)
        if event.cents == 1 and ctx.attempt == 1:
            raise ValueError  # an attempt that failed was not seen

    twice = [Booked(cents=0), Booked(cents=1)]
    before = server_ms(inspect)
    for _ in range(2):
        publish(twice)
        run(router)

    assert handled == [0, 1, 1]
    notes = [keys.once(f"seen:filters:{event.event_id}") for event in twice]
    left = [inspect.pttl(note) for note in notes]
    assert all(90_000 - (server_ms(inspect) - before) <= one <= 90_000 for one in left)

    inspect.pexpire(notes[0], 1)  # its window ends
    wait_until(lambda: not inspect.exists(notes[0]), "it is forgotten")
    publish(twice)
    run(router)

    assert handled == [0, 1, 1, 0]
