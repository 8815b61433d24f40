"""Delivery over a real server: every case runs a daemon until nothing is left, then looks at the server."""

import asyncio
import threading
import time
from collections import Counter

import pytest

from busredis import Context, Daemon, Reject, Retry, Router, Skip
from tests.integration.conftest import FAST
from tests.integration.payments import Paid, Refunded, letters, pending
from tests.integration.running import Running
from tests.waiting import wait_until


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_every_event_is_handled_once_and_in_order_by_each_group(run, publisher, inspect, keys, colour):
    router, seen = Router(), {"one": [], "two": []}
    for group in seen:

        def sync_handler(event, ctx, group=group):
            seen[group].append(event.amount)

        async def async_handler(event, ctx, group=group):
            seen[group].append(event.amount)

        router.on(Paid, name=group)(sync_handler if colour == "sync" else async_handler)
    publisher.publish_many([Paid(amount=n) for n in range(2_000)])

    run(router)

    assert seen == {"one": list(range(2_000)), "two": list(range(2_000))}
    assert pending(inspect, keys, "Paid", "one") == 0


def test_what_always_fails_is_dead_after_max_attempts_with_its_story(run, publisher, inspect, keys):
    router, attempts = Router(), []

    @router.on(Paid, name="ledger", max_attempts=3, backoff=0.01)
    async def ledger(event: Paid, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("no such account")

    entry_id = publisher.publish(Paid(amount=7))

    run(router)

    assert attempts == [1, 2, 3]
    [letter] = letters(inspect, keys, "ledger")
    assert letter["error"] == "ValueError: no such account"
    assert letter["reason"] == "failed"
    assert letter["attempts"] == "3"
    assert letter["entry_id"] == entry_id
    assert letter["stream"] == keys.stream("Paid")
    assert '"amount":7' in letter["entry:event"]
    assert "in ledger" in letter["traceback"]
    assert int(letter["first_failure"]) < int(letter["last_failure"])
    assert pending(inspect, keys, "Paid", "ledger") == 0
    assert inspect.hlen(keys.failures("ledger")) == 0


@pytest.mark.parametrize(
    "error", [BaseException, SystemExit, KeyboardInterrupt, asyncio.CancelledError, RecursionError]
)
@pytest.mark.parametrize("colour", ["async", "sync"])
def test_whatever_a_handler_raises_is_a_failure_and_the_daemon_goes_on(
    run, publisher, inspect, keys, error, colour
):
    router, seen = Router(), []

    def work(event):
        if event.amount == 1:
            raise error("odd")
        seen.append(event.amount)

    async def work_async(event):
        work(event)

    router.on(Paid, name="odd", max_attempts=2, backoff=0.01)(work if colour == "sync" else work_async)
    publisher.publish_many([Paid(amount=n) for n in range(3)])

    run(router)

    assert seen == [0, 2]
    assert [letter["attempts"] for letter in letters(inspect, keys, "odd")] == ["2"]


def test_a_failing_group_neither_runs_again_nor_delays_another(run, publisher):
    router, calls = Router(), Counter()

    @router.on(Paid, name="fails", max_attempts=3, backoff=0.05)
    async def fails(event: Paid) -> None:
        calls["fails"] += 1
        raise ValueError

    @router.on(Paid, name="works")
    async def works(event: Paid) -> None:
        calls["works"] += 1

    publisher.publish_many([Paid() for _ in range(10)])

    run(router)

    assert calls == {"fails": 30, "works": 10}


def test_signals_steer_a_delivery(run, publisher, inspect, keys):
    router, attempts = Router(), Counter()

    @router.on(Paid, name="steered", max_attempts=2)
    async def steered(event: Paid, ctx: Context) -> None:
        attempts[event.amount] += 1
        if event.amount == 0:
            raise Reject("against the law")
        if event.amount == 1:
            raise Skip("not mine")
        if event.amount == 2 and attempts[2] < 5:
            raise Retry("later", after=0.02, counts=False)
        if event.amount == 3 and ctx.attempt == 1:
            raise Retry("later", after=0.02)

    publisher.publish_many([Paid(amount=n) for n in range(4)])

    run(router)

    assert attempts == {0: 1, 1: 1, 2: 5, 3: 2}
    [letter] = letters(inspect, keys, "steered")
    assert (letter["reason"], letter["error"], letter["attempts"]) == ("rejected", "against the law", "1")


def test_a_retry_waits_its_backoff_across_a_restart_of_the_daemon(
    server, namespace, publisher, inspect, keys
):
    times = []
    router = Router()

    @router.on(Paid, name="patient", backoff=1.5)
    async def patient(event: Paid) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise ValueError

    publisher.publish(Paid())
    with Running(Daemon(router, url=server.url, namespace=namespace, **FAST)):
        wait_until(lambda: inspect.exists(keys.failures("patient")), "the entry waits")
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert len(times) == 2
    assert times[1] - times[0] >= 1.5


def test_a_handler_over_its_timeout_has_failed(run, publisher, inspect, keys):
    router = Router()

    @router.on(Paid, name="hangs", max_attempts=2, backoff=0.01, timeout=0.1)
    async def hangs(event: Paid) -> None:
        await asyncio.Event().wait()

    release = threading.Event()

    @router.on(Paid, name="hangs-in-a-thread", max_attempts=2, backoff=0.01, timeout=0.1)
    def hangs_in_a_thread(event: Paid) -> None:
        release.wait(30)

    publisher.publish(Paid())

    run(router)
    release.set()

    for group in ("hangs", "hangs-in-a-thread"):
        assert [(x["reason"], x["attempts"]) for x in letters(inspect, keys, group)] == [("timeout", "2")]


def test_a_new_group_starts_where_it_is_told_and_an_old_one_is_not_moved(run, publisher):
    ids = publisher.publish_many([Paid(amount=n) for n in range(4)])
    seen: dict[str, list[int]] = {"beginning": [], "now": [], "id": []}

    def router(*, second: bool = False) -> Router:
        found = Router()
        for name, start in (("beginning", "beginning"), ("now", "now"), ("id", ids[2])):

            async def handle(event: Paid, ctx: Context, name: str = name) -> None:
                seen[name].append(event.amount)

            found.on(Paid, name=name, start="beginning" if second else start)(handle)
        return found

    run(router())
    publisher.publish(Paid(amount=4))
    run(router(second=True))

    assert seen == {"beginning": [0, 1, 2, 3, 4], "now": [4], "id": [2, 3, 4]}


def test_what_a_handler_publishes_is_caused_by_its_event(run, publisher, inspect, keys):
    router, seen = Router(), []

    @router.on(Paid, name="refunds")
    async def refunds(event: Paid, ctx: Context) -> None:
        await ctx.publish(Refunded(amount=event.amount), key=f"refund-{event.event_id}")

    @router.on(Refunded, name="sees")
    async def sees(event: Refunded) -> None:
        seen.append(event)

    cause = Paid(amount=3, correlation_id="c-1")
    publisher.publish(cause)

    run(router)
    run(router)

    assert [(e.amount, e.correlation_id, e.causation_id) for e in seen] == [(3, "c-1", str(cause.event_id))]
