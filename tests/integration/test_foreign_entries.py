"""Entries, groups and streams that other programs wrote, damaged or took away, under a running handler."""

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime

from busredis import Context, Daemon, DomainEvent, Router
from tests.integration.conftest import FAST
from tests.integration.payments import Paid, Refunded, letters, pending
from tests.integration.running import Running, released
from tests.waiting import wait_until

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
    done, waits, held, behind, after, refunded, last = range(7)
    router, runs, handled, lost = Router(), Counter(), Counter(), threading.Event()
    stream = keys.stream("Paid")

    @router.on(Paid, Refunded, name="ledger", backoff=3600)
    async def ledger(event: Paid | Refunded) -> None:
        runs[event.amount] += 1
        if event.amount == waits and runs[waits] == 1:
            raise ValueError("in an hour")
        while event.amount == held and not lost.is_set():
            await asyncio.sleep(0.01)
        handled[event.amount] += 1

    def settled(last_id: str) -> bool:
        groups = inspect.xinfo_groups(stream) if inspect.exists(stream) else []
        return [(g["last-delivered-id"].decode(), g["pending"]) for g in groups] == [(last_id, 0)]

    with Running(Daemon(router, url=server.url, namespace=namespace, **FAST)), released(lost):
        first = publisher.publish_many([Paid(amount=done), Refunded(amount=refunded)])[0]
        wait_until(lambda: inspect.hget(keys.checkpoint("ledger"), stream) == first.encode(), "it is noted")
        publisher.publish_many([Paid(amount=n) for n in (waits, held, behind)])
        wait_until(lambda: runs[held], "one waits for its next attempt, one is in hand, one is behind it")
        inspect.hdel(keys.checkpoint("ledger"), keys.stream("Refunded"))
        wait_until(
            lambda: inspect.hexists(keys.checkpoint("ledger"), keys.stream("Refunded")), "that is noted"
        )
        inspect.xgroup_destroy(stream, "ledger")
        after_the_loss = publisher.publish(Paid(amount=after))
        wait_until(lambda: inspect.xinfo_groups(stream), "the group is back")
        lost.set()
        wait_until(lambda: settled(after_the_loss), "all is handled")
        inspect.delete(stream)
        publisher.publish(Paid(amount=last))
        wait_until(lambda: handled[last], "what was published after the stream was lost is handled")

    assert set(handled) == {done, waits, held, behind, after, refunded, last}
    # Again is only what was open when the group was lost, and not more than once.
    assert {n: handled[n] for n in (done, waits, after, refunded, last)} == dict.fromkeys(
        (done, waits, after, refunded, last), 1
    )
    assert runs[waits] == 2
    assert {handled[held], handled[behind]} <= {1, 2}
    assert inspect.xlen(keys.dead("ledger")) == 0


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
