import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from busredis import Context, DomainEvent, InMemoryEventBus, PublishRefused, Router


class Moved(DomainEvent):
    place: str = ""


class MovedFar(Moved):
    pass


class Ticked(DomainEvent):
    number: int = 0


def test_a_handler_is_called_for_its_class_its_subclasses_and_everything_by_a_star():
    bus, seen = InMemoryEventBus(), []
    bus.subscribe(Moved, lambda event: seen.append(("class", event.place)))
    bus.subscribe("*", lambda event: seen.append(("star", event.place)))
    bus.subscribe(MovedFar, lambda event: seen.append(("far", event.place)))

    bus.publish(Moved(place="a"))
    bus.publish(MovedFar(place="b"))

    assert seen == [("class", "a"), ("star", "a"), ("class", "b"), ("star", "b"), ("far", "b")]


def test_a_handler_that_raises_is_logged_and_the_others_run(caplog):
    bus, seen = InMemoryEventBus(), []

    def fails(_event):
        raise ValueError("out of order")

    async def fails_too(_event):
        raise ValueError("out of order as well")

    bus.subscribe(Moved, fails)
    bus.subscribe_async(Moved, fails_too)
    bus.subscribe(Moved, seen.append)

    bus.publish(Moved())

    assert len(seen) == 1
    assert [record.exc_info[1].args[0] for record in caplog.records] == [
        "out of order",
        "out of order as well",
    ]


def test_without_a_loop_an_async_handler_has_run_when_publish_returns():
    bus, seen = InMemoryEventBus(), []

    async def handle(event):
        await asyncio.sleep(0)
        seen.append(event)

    bus.subscribe_async(Moved, handle)
    bus.publish(Moved())

    assert len(seen) == 1


async def test_on_a_loop_no_async_handler_is_lost():
    bus, seen = InMemoryEventBus(), []

    async def handle(event):
        await asyncio.sleep(0.01)
        seen.append(event)

    bus.subscribe_async(Moved, handle)
    for _ in range(100):
        bus.publish(Moved())
    assert seen == []
    await bus.drain()

    assert len(seen) == 100


def test_unsubscribe_ends_a_subscription_and_says_whether_there_was_one():
    bus, seen = InMemoryEventBus(), []
    bus.subscribe(Moved, seen.append)

    assert bus.unsubscribe(Moved, seen.append) is True
    assert bus.unsubscribe(Moved, seen.append) is False
    bus.publish(Moved())
    assert seen == []


def test_the_handlers_of_a_router_run_as_a_daemon_would_run_them():
    router, seen = Router(), []

    @router.on(Moved, "*", name="once-for-both")
    async def handle(event: Moved, ctx: Context) -> None:
        seen.append((ctx.group, ctx.attempt, event.place))

    @router.on(MovedFar, name="plain")
    def plain(event: MovedFar) -> None:
        seen.append(event.place)

    bus = InMemoryEventBus(router)
    first = bus.publish(MovedFar(place="x"))

    assert seen == [("once-for-both", 1, "x"), "x"]
    assert first < bus.publish(MovedFar())


def test_what_a_handler_publishes_is_caused_by_its_event():
    bus, seen = InMemoryEventBus(), []

    def handle(event):
        if not isinstance(event, MovedFar):
            bus.publish(MovedFar())

    bus.subscribe(Moved, handle)
    bus.subscribe(MovedFar, seen.append)
    cause = Moved(correlation_id="c")
    bus.publish(cause)

    assert [(event.correlation_id, event.causation_id) for event in seen] == [("c", str(cause.event_id))]


def test_a_context_without_a_server_says_so():
    with pytest.raises(RuntimeError, match="in-memory"):
        Context("1-0", "s", "g", 1, 1).view("x")


def test_scheduled_events_are_published_when_the_clock_of_the_bus_comes_to_their_time():
    bus, seen = InMemoryEventBus(), []
    bus.subscribe("*", seen.append)
    late = bus.schedule(Ticked(number=2), delay=timedelta(hours=2))
    assert bus.schedule(Ticked(number=1), delay=60, key="soon") == bus.schedule(
        Ticked(number=9), delay=0, key="soon"
    )
    gone = bus.schedule(Ticked(number=3), at=datetime.now(UTC))

    assert (bus.cancel(gone), bus.cancel(gone)) == (True, False)
    assert bus.advance() == 0
    assert bus.advance(timedelta(hours=3)) == 2
    assert [event.number for event in seen] == [1, 2]
    assert seen[1].occurred_at - seen[0].occurred_at >= timedelta(minutes=118)
    assert not bus.cancel(late)
    with pytest.raises(PublishRefused, match="either at="):
        bus.schedule(Ticked())


def test_what_is_scheduled_while_the_clock_is_set_ahead_is_published_too_if_it_is_due():
    bus, seen = InMemoryEventBus(), []

    def again(event: Ticked) -> None:
        seen.append(event.number)
        if event.number < 3:
            bus.schedule(Ticked(number=event.number + 1), delay=0)

    bus.subscribe(Ticked, again)
    bus.schedule(Ticked(number=1), delay=5)

    assert bus.advance(5.1) == 3
    assert seen == [1, 2, 3]
