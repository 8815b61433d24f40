"""Ordered handlers: one after another by key, in total order over types, whatever fails, and one owner at a time."""

import asyncio
import json
import random
import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Self

import pytest

from busredis import Context, Daemon, DomainEvent, Publisher, Reject, Retry, Router, Skip
from busredis.daemon import intake
from busredis.daemon.ownership import Ownership, Share
from busredis.daemon.shadow import Shadow
from busredis.daemon.tenure import Tenure
from busredis.dead_letters import DeadLetters, retry_all
from busredis.delivery.model import Delivery, Effect, Outcome, Verdict
from busredis.delivery.ordered_pending import OrderedPending, OwnershipLost, Take
from busredis.delivery.pending import Row
from busredis.errors import CommandRefused, RegistrationError
from busredis.groups import find_groups, prune
from busredis.replay import move
from busredis.settings import Settings
from tests.integration.conftest import FAST
from tests.proxy import Proxy
from tests.waiting import wait_until


class OrderPlaced(DomainEvent):
    order: str = ""
    number: int = 0


class OrderPaid(DomainEvent):
    order: str = ""
    number: int = 0


class OrderShipped(DomainEvent):
    order: str = ""
    number: int = 0


TYPES = (OrderPlaced, OrderPaid, OrderShipped)
LATER = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1), "lease": timedelta(seconds=30)}


def event(number: int, order: str, **more) -> DomainEvent:
    """The nth event of an order; its type changes from one to the next."""
    return TYPES[number % 3](order=order, number=number, aggregate_id=order, aggregate_type="Order", **more)


class Running:
    """A daemon in a thread of this process."""

    def __init__(self, url: str, namespace: str, router: Router, **options) -> None:
        self.daemon = Daemon(router, url=url, namespace=namespace, **(FAST | options))
        self.thread = threading.Thread(target=self.daemon.run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.daemon.stop()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


def numbers(inspect, keys, group: str, order: str) -> list[int]:
    """What the effects of a handler have appended for one key."""
    return [int(number) for number in inspect.lrange(keys.view(f"{group}:{order}"), 0, -1)]


def pending(inspect, keys, group: str) -> int:
    return sum(inspect.xpending(keys.stream(cls.type_name), group)["pending"] for cls in TYPES)


def letters(inspect, keys, group: str) -> list[tuple[str, int]]:
    """Reason and number of each dead letter, in their order."""
    return [
        (fields[b"reason"].decode(), json.loads(fields[b"entry:event"])["payload"]["number"])
        for _, fields in inspect.xrange(keys.dead(group))
    ]


def appends(group: str):
    def handle(event, ctx: Context) -> None:
        ctx.effects.add("RPUSH", ctx.view(f"{group}:{event.order}"), event.number)

    return handle


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
    with Running(server.url, namespace, router):
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


def test_behind_a_dead_letter_its_key_is_parked_in_order_and_retried_in_order(
    run, publisher, inspect, keys, client
):
    router, broken = Router(), [True]

    @router.on(*TYPES, name="g", ordered=True, max_attempts=2, backoff=0.01)
    async def handle(event, ctx: Context) -> None:
        if event.order == "bad" and event.number == 1 and broken[0]:
            raise ValueError("broken")
        appends("g")(event, ctx)

    publisher.publish_many([event(n, order) for n in range(6) for order in ("bad", "good")])
    run(router)
    publisher.publish_many([event(n, order) for n in range(6, 9) for order in ("bad", "good")])
    run(router)

    assert numbers(inspect, keys, "g", "good") == list(range(9))
    assert numbers(inspect, keys, "g", "bad") == [0]
    assert letters(inspect, keys, "g") == [("failed", 1), *(("behind", n) for n in range(2, 9))]
    [_, (_, letter), *_] = inspect.xrange(keys.dead("g"))
    first = inspect.xrange(keys.dead("g"))[0][1]
    assert first[b"entry_id"].decode() in letter[b"error"].decode()
    assert letter[b"key"] == b"Order:bad"

    # Still broken: it comes back in front of the others, which are parked behind it again.
    assert len(client.run(retry_all([keys], "g")).done) == 8
    run(router)
    assert numbers(inspect, keys, "g", "bad") == [0]
    assert sorted(letters(inspect, keys, "g")) == sorted(
        [("failed", 1), *(("behind", n) for n in range(2, 9))]
    )
    # One that stands behind another is not let past it.
    behind = [x for x in client.run(DeadLetters([keys]).list("g")) if x.reason == "behind"]
    client.run(DeadLetters([keys]).retry(behind[-1]))
    run(router)
    assert numbers(inspect, keys, "g", "bad") == [0]

    broken[0] = False
    assert len(client.run(retry_all([keys], "g", key="Order:bad")).done) == 8
    publisher.publish(event(9, "bad"))
    run(router)
    assert numbers(inspect, keys, "g", "bad") == list(range(10))
    assert inspect.xlen(keys.dead("g")) == 0
    assert not inspect.exists(keys.parked("g"))
    assert pending(inspect, keys, "g") == 0


def test_letters_are_retried_in_order_while_the_owner_runs_and_more_is_published(
    server, namespace, publisher, inspect, keys, client
):
    router, broken = Router(), [True]

    @router.on(*TYPES, name="g", ordered=True, max_attempts=1)
    async def handle(event, ctx: Context) -> None:
        if event.number == 0 and broken[0]:
            raise ValueError("broken")
        appends("g")(event, ctx)

    with Running(server.url, namespace, router):
        publisher.publish_many([event(n, "bad") for n in range(30)])
        wait_until(lambda: inspect.xlen(keys.dead("g")) == 30, "all are parked")
        broken[0] = False
        stop = threading.Event()

        def publish() -> None:
            number = 30
            while not stop.is_set():
                publisher.publish(event(number, "bad"))
                number += 1
            total.append(number)

        total: list[int] = []
        writing = threading.Thread(target=publish)
        writing.start()
        wait_until(lambda: len(letters(inspect, keys, "g")) > 60, "more is parked behind")
        client.run(retry_all([keys], "g"))
        wait_until(lambda: len(numbers(inspect, keys, "g", "bad")) > 100, "the key goes on")
        stop.set()
        writing.join()

        def all_done() -> bool:
            if inspect.xlen(keys.dead("g")):
                client.run(retry_all([keys], "g"))
            return len(numbers(inspect, keys, "g", "bad")) == total[0]

        wait_until(all_done, "all is handled")

    assert numbers(inspect, keys, "g", "bad") == list(range(total[0]))


def test_a_discarded_letter_holds_back_nothing(run, publisher, inspect, keys, client):
    router = Router()

    @router.on(*TYPES, name="g", ordered=True)
    async def handle(event, ctx: Context) -> None:
        if event.number == 0:
            raise Reject("never")
        appends("g")(event, ctx)

    publisher.publish_many([event(n, "a") for n in range(3)])
    run(router)
    [first, *others] = client.run(DeadLetters([keys]).list("g"))
    assert [x.reason for x in (first, *others)] == ["rejected", "behind", "behind"]

    client.run(DeadLetters([keys]).discard(first))
    client.run(retry_all([keys], "g"))
    publisher.publish(event(3, "a"))
    run(router)

    assert numbers(inspect, keys, "g", "a") == [1, 2, 3]
    assert not inspect.exists(keys.parked("g"))


def test_a_letter_that_was_deleted_by_hand_holds_back_nothing(run, publisher, inspect, keys):
    router = Router()

    @router.on(*TYPES, name="g", ordered=True)
    async def handle(event, ctx: Context) -> None:
        if event.number == 0:
            raise Reject("never")
        appends("g")(event, ctx)

    publisher.publish_many([event(n, "a") for n in range(3)])
    run(router)
    inspect.delete(keys.dead("g"))
    publisher.publish(event(3, "a"))
    run(router)

    assert numbers(inspect, keys, "g", "a") == [3]


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
    router, seen = Router(), []

    @router.on(*TYPES, name="g", ordered=True, concurrency=2)
    async def handle(event, ctx: Context) -> None:
        if event.order == "long":
            await asyncio.sleep(0.002)
        seen.append(event.order)
        appends("g")(event, ctx)

    publisher.publish_many([event(n, "long") for n in range(400)])
    publisher.publish_many([event(n, "short") for n in range(10)])
    run(router, prefetch=32)

    assert numbers(inspect, keys, "g", "long") == list(range(400))
    assert numbers(inspect, keys, "g", "short") == list(range(10))
    assert max(i for i, order in enumerate(seen) if order == "short") < 300


def test_attempts_are_counted_by_the_server_over_owners(server, namespace, publisher, inspect, keys):
    attempts: list[int] = []

    def router() -> Router:
        found = Router()

        @found.on(*TYPES, name="g", ordered=True, backoff=0.3, max_attempts=4)
        async def handle(event, ctx: Context) -> None:
            attempts.append(ctx.attempt)
            raise ValueError("always")

        return found

    publisher.publish(event(0, "a"))
    for attempt in (1, 2, 3, 4):
        with Running(server.url, namespace, router()):
            wait_until(lambda a=attempt: len(attempts) >= a, "the next attempt")
    wait_until(lambda: inspect.xlen(keys.dead("g")) == 1, "it is dead")

    assert attempts == [1, 2, 3, 4]
    [(_, letter)] = inspect.xrange(keys.dead("g"))
    assert letter[b"attempts"] == b"4"


def test_a_stopped_owner_hands_over_at_once_and_what_it_did_not_start_is_handled_in_order(
    server, namespace, publisher, inspect, keys
):
    tokens: dict[str, list[int]] = defaultdict(list)

    def router(name: str) -> Router:
        found = Router()

        @found.on(*TYPES, name="g", ordered=True, concurrency=4)
        async def handle(event, ctx: Context) -> None:
            tokens[name].append(ctx.fencing_token)
            await asyncio.sleep(0.002)
            appends("g")(event, ctx)

        return found

    orders = [f"o-{n}" for n in range(10)]
    publisher.publish_many([event(n, order) for n in range(60) for order in orders])
    # The lease is far longer than this test may take: only a hand-over makes the second the owner.
    with Running(server.url, namespace, router("first"), **LATER) as first:
        wait_until(lambda: len(tokens["first"]) > 50, "the first is at work")
        with Running(server.url, namespace, router("second"), **LATER):
            wait_until(
                lambda: any(f.startswith(b"standby:") for f in inspect.hkeys(keys.owner("g"))),
                "one stands by",
            )
            assert "second" not in tokens
            first.stop()
            wait_until(lambda: pending(inspect, keys, "g") == 0 and len(tokens["second"]) > 50, "it is done")
            wait_until(lambda: sum(len(numbers(inspect, keys, "g", order)) for order in orders) == 600, "all")

    assert {order: numbers(inspect, keys, "g", order) for order in orders} == {
        order: list(range(60)) for order in orders
    }
    assert len(tokens["first"]) + len(tokens["second"]) == 600  # nothing was run twice
    assert max(tokens["first"]) < min(tokens["second"])
    assert len(set(tokens["first"])) == len(set(tokens["second"])) == 1


def test_groups_are_balanced_over_daemons(server, namespace, publisher, inspect, keys):
    def router() -> Router:
        found = Router()
        for number in range(4):
            found.on(*TYPES, name=f"g{number}", ordered=True)(lambda event: None)
        return found

    def owned() -> list[int]:
        owners = Counter(inspect.hget(keys.owner(f"g{number}"), "owner") for number in range(4))
        return sorted(owners.values())

    with Running(server.url, namespace, router()):
        wait_until(lambda: owned() == [4], "the first owns all")
        with Running(server.url, namespace, router()):
            wait_until(lambda: owned() == [2, 2], "each owns two")
        wait_until(
            lambda: owned() == [4] and inspect.hget(keys.owner("g0"), "owner") != b"",
            "the first owns all again",
        )


def test_the_token_rises_also_after_everything_was_flushed(server, namespace, publisher, inspect, keys):
    tokens: list[int] = []
    router = Router()

    @router.on(*TYPES, name="g", ordered=True)
    async def handle(event, ctx: Context) -> None:
        tokens.append(ctx.fencing_token)

    with Running(server.url, namespace, router):
        for number in range(2):
            publisher.publish(event(number, "a"))
            wait_until(lambda n=number: len(tokens) == n + 1, "it is handled")
            inspect.delete(*inspect.scan_iter(f"*{keys.namespace}*"))
        wait_until(lambda: inspect.exists(keys.owner("g")), "it is owned again")
        publisher.publish(event(2, "a"))
        wait_until(lambda: len(tokens) == 3, "it is handled")

    assert tokens == sorted(tokens)
    assert len(set(tokens)) >= 2


def test_a_lost_group_is_restored_and_goes_on_in_order(server, namespace, publisher, inspect, keys):
    router = Router()
    router.on(*TYPES, name="g", ordered=True)(appends("g"))

    with Running(server.url, namespace, router):
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

    with Proxy(server.port) as proxy, Running(proxy.url, namespace, router):
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


def test_a_late_read_of_an_owner_delivers_nothing(server, publisher, inspect, keys, client):
    publisher.publish_many([event(n, "a") for n in range(4)])
    streams = [keys.stream(cls.type_name) for cls in TYPES]
    share, owner = Share(), OrderedPending(keys, "g", "owner", streams)
    ownership = Ownership(keys, "g", "d", timedelta(seconds=30), share)
    client.run(owner.ensure("0-0", restore=False))
    assert client.run(ownership.take()).is_owner
    owner.begin("d.1", 1)
    with pytest.raises(OwnershipLost):
        client.run(owner.read_new(10))
    owner.begin("d.1", ownership.token or 0)

    late = owner.read_new(10)
    request = next(late)  # as if it were still on its way
    assert client.run(owner.page(b"0-0", 10)).rows == []
    with pytest.raises(CommandRefused, match="STALE"):
        client.run(_replayed(request))

    wait_until(lambda: len(client.run(owner.read_new(10)).entries) == 4, "the next one delivers all")


def test_another_owner_fences_off_all_that_the_one_before_still_does(
    server, publisher, inspect, keys, client
):
    publisher.publish_many([event(n, "a") for n in range(4)])
    streams = [keys.stream(cls.type_name) for cls in TYPES]
    owners = [OrderedPending(keys, "g", name, streams) for name in ("old", "new")]
    leases = [Ownership(keys, "g", name, timedelta(milliseconds=50), Share()) for name in ("old", "new")]
    client.run(owners[0].ensure("0-0", restore=False))
    client.run(leases[0].take())
    owners[0].begin("old.1", leases[0].token or 0)
    found = []
    wait_until(lambda: found or found.extend(client.run(owners[0].read_new(1)).entries), "one is read")
    [(stream, entry_id, fields)] = found
    held = Delivery(stream, OrderPlaced, entry_id, fields, 1, "old.1", 0.0, key="Order:a")

    wait_until(lambda: client.run(leases[1].take()).is_owner, "another takes over")
    owners[1].begin("new.2", leases[1].token or 0)
    [(row, _)] = client.run(owners[1].page(b"0-0", 10)).rows
    assert row.holder == "old.1"

    client.run(leases[0].renew())
    assert leases[0].token is None
    effect = Effect("INCRBY", keys.view("count"), (b"1",))
    assert client.run(owners[0].apply(1, [(held, Outcome(Verdict.ACK, effects=(effect,)))])) == ["lost"]
    assert client.run(owners[0].acknowledge([held])) == {entry_id}
    assert client.run(owners[0].wait(held, Outcome(Verdict.RETRY, error="x"))) is False
    assert client.run(owners[0].dead_letter(held, Outcome(Verdict.DEAD_LETTER))) is False
    client.run(owners[0].defer([held]))
    for flow in (
        owners[0].read_new(10),
        owners[0].page(b"0-0", 10),
        owners[0].take([Take(Row(stream, entry_id, "new.2", 0, 1), 2)]),
    ):
        with pytest.raises(OwnershipLost):
            client.run(flow)

    assert not inspect.exists(keys.view("count"), keys.dead("g"), keys.parked("g"))
    [entry] = inspect.xpending_range(stream, "g", "-", "+", 10)
    assert (entry["consumer"], entry["times_delivered"]) == (b"new.2", 1)
    assert (leases[1].token or 0) > owners[0].token


def test_an_owner_that_finds_nothing_is_seen_all_the_same(server, inspect, keys, client):
    streams = [keys.stream(cls.type_name) for cls in TYPES]
    owner, ownership = (
        OrderedPending(keys, "g", "d", streams),
        Ownership(keys, "g", "d", timedelta(seconds=30), Share()),
    )
    client.run(owner.ensure("0-0", restore=False))
    client.run(ownership.take())
    owner.begin("d.1", ownership.token or 0)

    assert client.run(owner.read_new(10)).entries == []

    [group] = [group for group in client.run(find_groups(keys)) if group.name == "g"]
    assert group.silent is not None
    assert not client.run(prune(keys, group, timedelta(hours=1)))


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


def _replayed(request):
    return (yield request)
