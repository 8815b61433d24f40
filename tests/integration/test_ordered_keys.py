"""The keys of ordered handlers: what they are, and that one is not in the way of others."""

import asyncio
from collections import defaultdict

import pytest

from busredis import Context, Daemon, Router
from busredis.daemon import intake
from busredis.errors import RegistrationError
from tests.integration.orders import TYPES, OrderPaid, appends, event, letters, numbers


def test_a_failing_key_holds_back_only_itself_and_goes_on_in_order(run, publisher, inspect, keys):
    router, seen = Router(), []

    @router.on(*TYPES, name="g", ordered=True, backoff=0.02, max_attempts=1_000)
    async def handle(event, ctx: Context) -> None:
        seen.append((event.order, event.number, ctx.attempt))
        if (event.order, event.number) == ("bad", 0) and ("good", 49, 1) not in seen:
            raise ValueError("not before all of the others")
        appends("g")(event, ctx)

    publisher.publish_many([event(n, order) for n in range(50) for order in ("bad", "good")])

    run(router)

    assert numbers(inspect, keys, "g", "bad") == numbers(inspect, keys, "g", "good") == list(range(50))
    attempts = [s[2] for s in seen if s[:2] == ("bad", 0)]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(attempts) > 1
    assert {s[2] for s in seen if s[:2] != ("bad", 0)} == {1}
    assert inspect.xlen(keys.dead("g")) == 0


def test_a_payload_field_can_be_the_key_and_events_without_a_key_wait_for_nobody(
    run, publisher, inspect, keys
):
    router, seen = Router(), defaultdict(list)

    @router.on(*TYPES, name="by-order", ordered="order", max_attempts=1)
    async def by_order(event, ctx: Context) -> None:
        seen["by-order"].append(event.number)
        if event.number == 0:
            raise ValueError

    @router.on(*TYPES, name="alone", ordered=True, max_attempts=1)
    async def alone(event, ctx: Context) -> None:
        seen["alone"].append(event.number)
        if event.number == 0:
            raise ValueError

    publisher.publish_many([TYPES[n % 3](order="o", number=n) for n in range(5)])
    run(router)

    assert seen == {"by-order": [0], "alone": [0, 1, 2, 3, 4]}
    assert [reason for reason, _ in letters(inspect, keys, "by-order")] == ["failed"] + ["behind"] * 4
    assert letters(inspect, keys, "alone") == [("failed", 0)]


@pytest.mark.parametrize("ordered", ["nothing", "aggregate_id", "", 3])
def test_a_key_that_is_no_payload_field_is_refused(server, ordered):
    router = Router()
    with pytest.raises(RegistrationError, match="ordered"):
        router.on(OrderPaid, name="g", ordered=ordered)(lambda event: None)
        Daemon(router, url=server.url)


@pytest.mark.parametrize("prefetch", [1, 2, 16])
def test_what_waits_does_not_take_the_place_of_other_keys(run, publisher, inspect, keys, prefetch):
    router, seen = Router(), []

    @router.on(*TYPES, name="g", ordered=True, backoff=0.05, max_attempts=1_000)
    async def handle(event, ctx: Context) -> None:
        seen.append(event.order)
        if event.order.startswith("bad") and event.number == 0 and seen.count("good") < 50:
            raise ValueError("not before all of the others")
        appends("g")(event, ctx)

    bad = [f"bad-{n}" for n in range(20)]
    publisher.publish_many([event(0, order) for order in bad])
    publisher.publish_many([event(n, "bad-0") for n in range(1, 100)])
    publisher.publish_many([event(n, "good") for n in range(50)])
    run(router, prefetch=prefetch)

    for order in bad[1:]:
        assert numbers(inspect, keys, "g", order) == [0]
    assert numbers(inspect, keys, "g", "bad-0") == list(range(100))
    assert numbers(inspect, keys, "g", "good") == list(range(50))
    assert inspect.xlen(keys.dead("g")) == 0


def test_a_key_with_a_long_queue_does_not_keep_others_from_their_turn(run, publisher, inspect, keys):
    router, shorts = Router(), []

    @router.on(*TYPES, name="g", ordered=True, concurrency=2, timeout=10, max_attempts=1)
    async def handle(event, ctx: Context) -> None:
        shorts.extend([event.number] * (event.order == "short"))
        while event.order == "long" and len(shorts) < 10:
            await asyncio.sleep(0.001)  # the first of the queue waits for all of the others
        appends("g")(event, ctx)

    publisher.publish_many([event(n, "long") for n in range(400)])
    publisher.publish_many([event(n, "short") for n in range(10)])
    run(router, prefetch=32)

    assert numbers(inspect, keys, "g", "long") == list(range(400))
    assert numbers(inspect, keys, "g", "short") == list(range(10))
    assert letters(inspect, keys, "g") == []


def test_more_keys_may_fail_than_are_known_at_a_time_and_nothing_is_out_of_order(
    run, publisher, inspect, keys, monkeypatch
):
    monkeypatch.setattr(intake, "MOST_KNOWN", 30)
    monkeypatch.setattr(intake, "_PAGE", 7)
    router = Router()

    @router.on(*TYPES, name="g", ordered=True, backoff=0.05)
    async def handle(event, ctx: Context) -> None:
        if ctx.attempt < 3:
            raise ValueError
        appends("g")(event, ctx)

    orders = [f"o-{n}" for n in range(60)]
    publisher.publish_many([event(n, order) for n in range(3) for order in orders])
    run(router, prefetch=8)

    assert {order: numbers(inspect, keys, "g", order) for order in orders} == {
        order: [0, 1, 2] for order in orders
    }
