"""Delivery over a real server: every case runs a daemon until nothing is left, then looks at the server."""

import asyncio
import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from busredis import Context, Daemon, DomainEvent, Reject, Retry, Router, Skip
from busredis.keys import Keys
from tests.integration.conftest import FAST
from tests.waiting import wait_until


class Paid(DomainEvent):
    amount: int = 0


class Refunded(DomainEvent):
    amount: int = 0


def pending(inspect, keys: Keys, event_type: str, group: str) -> int:
    return inspect.xpending(keys.stream(event_type), group)["pending"]


def letters(inspect, keys: Keys, group: str) -> list[dict[str, str]]:
    found = inspect.xrange(keys.dead(group))
    return [{k.decode(): v.decode("utf-8", "replace") for k, v in fields.items()} for _, fields in found]


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
    first = Daemon(router, url=server.url, namespace=namespace, **FAST)
    thread = threading.Thread(target=first.run)
    thread.start()
    wait_until(lambda: inspect.exists(keys.failures("patient")), "the entry waits")
    first.stop()
    thread.join()
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


BAD = {
    "no fields of ours": ({"x": "1"}, "envelope"),
    "broken JSON": ({"event": '{"payload":'}, "json"),
    "an array": ({"event": "[1]"}, "json"),
    "another type": ({"event": '{"event_type":"Nope","payload":{}}'}, "unknown-type"),
    "a wrong field": ({"event": '{"payload":{"amount":"12"}}'}, "validation"),
    "no payload": ({"event": "{}"}, "validation"),
    "a newer version": ({"event": '{"event_version":9,"payload":{"amount":1}}'}, "newer-version"),
    "20 MB": ({"event": '{"payload":{"amount":1},"x":"' + "x" * 20_000_000 + '"}'}, "too-large"),
    "deep nesting": ({"event": '{"payload":' + "[" * 100_000 + "]" * 100_000 + "}"}, "json"),
    "invalid UTF-8": ({"event": b'{"payload":{"amount":1,"\xff":2}}'}, "json"),
}


def test_what_is_no_event_is_a_dead_letter_with_a_reason_and_the_rest_goes_on(run, publisher, inspect, keys):
    router, seen = Router(), []

    @router.on(Paid, name="reads")
    async def reads(event: Paid) -> None:
        seen.append(event.amount)

    publisher.publish(Paid(amount=1))
    for fields, _ in BAD.values():
        inspect.xadd(keys.stream("Paid"), fields)
    publisher.publish(Paid(amount=2))

    run(router)

    assert seen == [1, 2]
    found = letters(inspect, keys, "reads")
    assert [letter["reason"] for letter in found] == [reason for _, reason in BAD.values()]
    assert [letter["attempts"] for letter in found] == ["1"] * len(BAD)
    assert "amount" in found[4]["error"]


class Strict(DomainEvent):
    needed: int


def test_a_missing_field_is_named_in_the_dead_letter(run, inspect, keys):
    router = Router()

    @router.on(Strict, name="reads")
    async def reads(event: Strict) -> None:
        raise AssertionError

    inspect.xadd(keys.stream("Strict"), {"event": '{"payload":{"other":1}}'})
    inspect.xadd(keys.stream("Strict"), {"event": '{"payload":{"needed":null}}'})

    run(router)

    found = letters(inspect, keys, "reads")
    assert [letter["reason"] for letter in found] == ["validation"] * 2
    assert found[0]["error"] == "payload.needed: Field required"
    assert found[1]["error"].startswith("payload.needed: ")


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


def test_any_program_may_publish(run, inspect, keys):
    router, seen = Router(), []

    @router.on(Paid, name="reads")
    async def reads(event: Paid) -> None:
        seen.append(event)

    entry_id = inspect.xadd(keys.stream("Paid"), {"event": '{"payload": {"amount": 5}}'}).decode()

    run(router)

    [event] = seen
    assert event.amount == 5
    assert event.occurred_at == datetime.fromtimestamp(int(entry_id.split("-")[0]) / 1000, UTC)


def test_a_lost_group_is_restored_and_nothing_open_is_skipped(server, namespace, publisher, inspect, keys):
    router, seen = Router(), Counter()

    @router.on(Paid, Refunded, name="ledger")
    async def ledger(event: Paid | Refunded) -> None:
        seen[event.amount] += 1

    daemon = Daemon(router, url=server.url, namespace=namespace, **FAST)
    thread = threading.Thread(target=daemon.run)
    thread.start()
    publisher.publish(Paid(amount=1))
    wait_until(lambda: seen[1], "the first is handled")
    inspect.xgroup_destroy(keys.stream("Paid"), "ledger")
    publisher.publish(Paid(amount=2))
    wait_until(lambda: seen[2], "the second is handled")
    inspect.delete(keys.stream("Paid"))
    publisher.publish(Paid(amount=3))
    wait_until(lambda: seen[3], "the third is handled")
    daemon.stop()
    thread.join()

    assert not thread.is_alive()


def test_an_entry_deleted_while_it_waited_is_a_dead_letter_that_says_so(run, publisher, inspect, keys):
    router = Router()

    @router.on(Paid, name="slow", backoff=0.3)
    async def slow(event: Paid, ctx: Context) -> None:
        inspect.xdel(keys.stream("Paid"), ctx.entry_id)
        raise ValueError

    publisher.publish(Paid())

    run(router)

    assert [letter["reason"] for letter in letters(inspect, keys, "slow")] == ["trimmed"]
    assert pending(inspect, keys, "Paid", "slow") == 0


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
