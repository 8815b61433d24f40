"""Behind a dead letter its key is parked, and comes back in order when the letter is retried or discarded."""

from busredis import Context, Reject, Router
from busredis.dead_letters import DeadLetters, retry_all
from tests.integration.orders import TYPES, appends, event, letters, numbers, pending, running
from tests.integration.running import Repeating
from tests.waiting import wait_until


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

    with running(server.url, namespace, router):
        publisher.publish_many([event(n, "bad") for n in range(30)])
        wait_until(lambda: inspect.xlen(keys.dead("g")) == 30, "all are parked")
        broken[0] = False
        with Repeating(lambda number: publisher.publish(event(30 + number, "bad"))) as publishing:
            wait_until(lambda: len(letters(inspect, keys, "g")) > 60, "more is parked behind")
            client.run(retry_all([keys], "g"))
            wait_until(lambda: len(numbers(inspect, keys, "g", "bad")) > 100, "the key goes on")
        total = 30 + publishing.calls

        def all_done() -> bool:
            if inspect.xlen(keys.dead("g")):
                client.run(retry_all([keys], "g"))
            return len(numbers(inspect, keys, "g", "bad")) >= total

        wait_until(all_done, "all is handled")

    assert numbers(inspect, keys, "g", "bad") == list(range(total))


def rejects_the_first() -> Router:
    router = Router()

    @router.on(*TYPES, name="g", ordered=True)
    async def handle(event, ctx: Context) -> None:
        if event.number == 0:
            raise Reject("never")
        appends("g")(event, ctx)

    return router


def test_a_discarded_letter_holds_back_nothing(run, publisher, inspect, keys, client):
    router = rejects_the_first()
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
    router = rejects_the_first()
    publisher.publish_many([event(n, "a") for n in range(3)])
    run(router)
    inspect.delete(keys.dead("g"))
    publisher.publish(event(3, "a"))
    run(router)

    assert numbers(inspect, keys, "g", "a") == [3]
