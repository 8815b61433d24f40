"""Ordered handlers: all events of a key in total order over types, whatever fails or is given again."""

import asyncio
import json
import random
import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from busredis import Context, Publisher, Reject, Retry, Router, Skip
from busredis.daemon.shadow import Shadow
from busredis.daemon.tenure import Tenure
from busredis.replay import move
from busredis.settings import Settings
from tests.integration.conftest import FAST
from tests.integration.orders import TYPES, appends, event, numbers, pending, running
from tests.proxy import Proxy
from tests.waiting import wait_until


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_events_of_a_key_are_handled_in_total_order_over_types_while_publishers_write(
    server, namespace, inspect, keys, colour
):
    orders, each = [f"o-{n}" for n in range(40)], 60
    router, at_once, most = Router(), Counter(), Counter()

    def begin(event) -> None:
        at_once[event.order] += 1
        at_once[""] += 1
        most["key"] = max(most["key"], at_once[event.order])
        most["all"] = max(most["all"], at_once[""])

    def end(event, ctx: Context) -> None:
        at_once[event.order] -= 1
        at_once[""] -= 1
        appends("g")(event, ctx)

    async def in_task(event, ctx: Context) -> None:
        begin(event)
        await asyncio.sleep(0.001)
        end(event, ctx)

    lock = threading.Lock()

    def in_thread(event, ctx: Context) -> None:
        with lock:
            begin(event)
        time.sleep(0.001)
        with lock:
            end(event, ctx)

    router.on(*TYPES, name="g", ordered=True, concurrency=8)(in_task if colour == "async" else in_thread)

    def publish(part: int) -> None:
        with Publisher(server.url, namespace=namespace) as publisher:
            for number in range(each):
                publisher.publish_many([event(number, order) for order in orders[part::4]])

    publishing = [threading.Thread(target=publish, args=(part,)) for part in range(4)]
    with running(server.url, namespace, router):
        for thread in publishing:
            thread.start()
        for thread in publishing:
            thread.join()
        wait_until(
            lambda: sum(inspect.llen(keys.view(f"g:{order}")) for order in orders) == len(orders) * each,
            "all is handled",
            40,
        )

    assert {order: numbers(inspect, keys, "g", order) for order in orders} == {
        order: list(range(each)) for order in orders
    }
    assert most["key"] == 1
    assert 1 < most["all"] <= 8
    assert pending(inspect, keys, "g") == 0
    assert inspect.hget(keys.owner("g"), "owner") == b""


def test_signals_timeouts_and_entries_that_cannot_be_read_keep_the_order(run, publisher, inspect, keys):
    router, seen = Router(), defaultdict(list)

    @router.on(*TYPES, name="g", ordered=True, max_attempts=2, backoff=0.02, timeout=0.3)
    async def handle(event, ctx: Context) -> None:
        seen[event.order].append(event.number)
        if event.number == 1 and ctx.attempt == 1:
            match event.order:
                case "retry":
                    raise Retry(after=timedelta(seconds=0.05))
                case "skip":
                    raise Skip("not for us")
                case "slow":
                    await asyncio.sleep(20)
        if event.number == 1 and event.order == "reject":
            raise Reject("no")

    orders = ("retry", "skip", "slow", "reject", "garbled")
    publisher.publish_many([event(n, order) for n in range(2) for order in orders[:4]])
    garbled = {"aggregate_type": "Order", "aggregate_id": "garbled", "payload": {"number": "x"}}
    inspect.xadd(keys.stream("OrderPaid"), {"event": json.dumps(garbled)})
    inspect.xadd(keys.stream("OrderPaid"), {"event": "{"})
    inspect.xadd(keys.stream("OrderPaid"), {"nothing": "at all"})
    publisher.publish_many([event(n, order) for n in range(2, 4) for order in orders])

    run(router)

    assert seen == {
        "retry": [0, 1, 1, 2, 3],
        "skip": [0, 1, 2, 3],
        "slow": [0, 1, 1, 2, 3],
        "reject": [0, 1],
    }
    found = client_letters(inspect, keys)
    assert found["Order:reject"] == ["rejected", "behind", "behind"]
    assert found["Order:garbled"][1:] == ["behind", "behind"]
    assert len(found[""]) == 2
    assert pending(inspect, keys, "g") == 0


def client_letters(inspect, keys) -> dict[str, list[str]]:
    found = defaultdict(list)
    for _, fields in inspect.xrange(keys.dead("g")):
        found[fields.get(b"key", b"").decode()].append(fields[b"reason"].decode())
    return dict(found)


def test_a_lost_group_is_restored_and_goes_on_in_order(server, namespace, publisher, inspect, keys):
    router = Router()
    router.on(*TYPES, name="g", ordered=True)(appends("g"))

    with running(server.url, namespace, router):
        publisher.publish_many([event(n, "a") for n in range(30)])
        wait_until(lambda: numbers(inspect, keys, "g", "a") == list(range(30)), "it is handled")
        reached = inspect.xinfo_stream(keys.stream("OrderPaid"))["last-generated-id"]
        wait_until(
            lambda: inspect.hget(keys.checkpoint("g"), keys.stream("OrderPaid")) == reached, "it is noted"
        )
        inspect.xgroup_destroy(keys.stream("OrderPaid"), "g")
        publisher.publish_many([event(n, "a") for n in range(30, 60)])
        wait_until(lambda: numbers(inspect, keys, "g", "a") == list(range(60)), "it goes on")


@pytest.mark.parametrize("command", [b"EVALSHA", b"XREAD"])
def test_a_lost_reply_to_the_owner_costs_neither_an_event_nor_the_order(
    server, namespace, publisher, inspect, keys, command
):
    router, attempts = Router(), Counter()

    @router.on(*TYPES, name="g", ordered=True)
    async def handle(event, ctx: Context) -> None:
        attempts[ctx.attempt] += 1
        appends("g")(event, ctx)

    with Proxy(server.port) as proxy, running(proxy.url, namespace, router):
        for round_ in range(10):
            proxy.cut_before_reply(1, needle=command)
            first = round_ * 20
            publisher.publish_many(
                [event(n, order) for n in range(first, first + 20) for order in ("a", "b")]
            )
            wait_until(
                lambda last=first + 20: all(
                    len(numbers(inspect, keys, "g", order)) == last for order in "ab"
                ),
                f"round {round_} is handled",
            )
        assert proxy.lost_replies >= 8

    assert numbers(inspect, keys, "g", "a") == numbers(inspect, keys, "g", "b") == list(range(200))
    assert set(attempts) == {1}
    assert pending(inspect, keys, "g") == 0


def test_entries_that_fail_while_the_pending_lists_are_looked_through_keep_their_place(
    run, publisher, inspect, keys, monkeypatch
):
    chance, settled = random.Random(5), Tenure.settled

    def settled_and_doubted(self, delivery, outcome) -> None:
        settled(self, delivery, outcome)
        if chance.random() < 0.2:
            self.intake.look_again()

    monkeypatch.setattr(Tenure, "settled", settled_and_doubted)
    router = Router()

    @router.on(*TYPES, name="g", ordered=True, backoff=0.03, concurrency=4)
    async def handle(event, ctx: Context) -> None:
        if ctx.attempt < 3 and event.number % 4 == 0:
            raise ValueError
        appends("g")(event, ctx)

    orders = [f"o-{n}" for n in range(30)]
    publisher.publish_many([event(n, order) for n in range(12) for order in orders])
    run(router, prefetch=20)

    assert {order: numbers(inspect, keys, "g", order) for order in orders} == {
        order: list(range(12)) for order in orders
    }


def test_a_replay_gives_everything_again_in_order_and_says_so(run, publisher, inspect, keys, client):
    router, replayed = Router(), []

    @router.on(*TYPES, name="g", ordered=True, concurrency=4)
    async def handle(event, ctx: Context) -> None:
        replayed.append(ctx.replaying)
        appends("g")(event, ctx)

    publisher.publish_many([event(n, order) for n in range(40) for order in "abc"])
    run(router)
    client.run(move(keys, "g", "0-1"))
    run(router)

    for order in "abc":
        assert numbers(inspect, keys, "g", order) == [*range(40), *range(40)]
    assert replayed == [False] * 120 + [True] * 120


async def test_a_shadow_of_an_ordered_handler_is_in_order_too(server, namespace, publisher, inspect, keys):
    router = Router()
    router.on(*TYPES, name="g", ordered=True, concurrency=4)(appends("new"))
    [handler] = router
    publisher.publish_many([event(n, order) for n in range(60) for order in "abc"])
    settings = Settings.load(url=server.url, namespace=namespace, **FAST)

    await Shadow(handler, "new", ("0-1", "99999999999999-0"), settings).run()

    for order in "abc":
        found = inspect.lrange(keys.shadow("new").view(f"new:{order}"), 0, -1)
        assert [int(number) for number in found] == list(range(60))
    assert inspect.hget(keys.owner("new"), "owner") == b""
