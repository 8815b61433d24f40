"""Entries, groups and streams that other programs wrote, damaged or took away, under a running handler."""

from collections import Counter
from datetime import UTC, datetime

from busredis import Context, Daemon, DomainEvent, Router
from tests.integration.conftest import FAST
from tests.integration.payments import Paid, Refunded, letters, pending
from tests.integration.running import Running
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
    router, seen = Router(), Counter()

    @router.on(Paid, Refunded, name="ledger")
    async def ledger(event: Paid | Refunded) -> None:
        seen[event.amount] += 1

    with Running(Daemon(router, url=server.url, namespace=namespace, **FAST)):
        publisher.publish(Paid(amount=1))
        wait_until(lambda: seen[1], "the first is handled")
        inspect.xgroup_destroy(keys.stream("Paid"), "ledger")
        publisher.publish(Paid(amount=2))
        wait_until(lambda: seen[2], "the second is handled")
        inspect.delete(keys.stream("Paid"))
        publisher.publish(Paid(amount=3))
        wait_until(lambda: seen[3], "the third is handled")


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
