"""One owner of an ordered group at a time: handed over, balanced, counted, and fenced by a token that rises."""

import asyncio
from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from busredis import Context, Router
from busredis.daemon.ownership import Ownership, Share
from busredis.delivery.model import Delivery, Effect, Outcome, Verdict
from busredis.delivery.ordered_pending import OrderedPending, OwnershipLost, Take
from busredis.delivery.pending import Row
from busredis.errors import CommandRefused
from busredis.groups import find_groups, prune
from tests.integration.conftest import LATER
from tests.integration.orders import TYPES, OrderPlaced, appends, event, numbers, pending, running
from tests.waiting import wait_until


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
        with running(server.url, namespace, router()):
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
    with running(server.url, namespace, router("first"), **LATER) as first:
        wait_until(lambda: len(tokens["first"]) > 50, "the first is at work")
        with running(server.url, namespace, router("second"), **LATER):
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

    with running(server.url, namespace, router()):
        wait_until(lambda: owned() == [4], "the first owns all")
        with running(server.url, namespace, router()):
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

    with running(server.url, namespace, router):
        for number in range(3):
            wait_until(lambda: inspect.hget(keys.owner("g"), "owner"), "it is owned, again")
            publisher.publish(event(number, "a"))
            wait_until(lambda n=number: len(tokens) == n + 1, "it is handled")
            inspect.delete(*inspect.scan_iter(f"*{keys.namespace}*"))

    first, second, third = tokens
    assert first < second < third


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


def _replayed(request):
    return (yield request)
