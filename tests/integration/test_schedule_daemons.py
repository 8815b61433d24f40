"""Scheduled events and the daemons that append them: once each, whatever replies are lost and however many look."""

import random
import threading
from datetime import timedelta

from busredis import Context, Daemon, Publisher, Router
from busredis.client import Client
from busredis.daemon.scheduler import append_due
from busredis.keys import parse_id
from busredis.settings import Settings
from tests.integration.reminders import FUTURE, Asked, Reminded, events
from tests.integration.running import Running
from tests.proxy import Proxy
from tests.waiting import wait_until

FAST = {"sweep": timedelta(seconds=0.1), "block": timedelta(seconds=0.1)}


def test_a_lost_reply_changes_the_schedule_once_and_is_answered_as_the_first_was(
    server, namespace, due, inspect, keys
):
    with Proxy(server.port) as proxy, Publisher(proxy.url, namespace=namespace) as publisher:
        publisher.schedule(Reminded(number=0), at=FUTURE)
        for number in range(1, 6):
            proxy.cut_before_reply(needle=b"EVALSHA")
            schedule_id = publisher.schedule(Reminded(number=number), delay=0)
            # It was due before the answer came; the retry must not schedule it again.
            due()
        proxy.cut_before_reply(needle=b"EVALSHA")
        kept = publisher.schedule(Reminded(number=6), at=FUTURE)
        proxy.cut_before_reply(needle=b"EVALSHA")
        assert publisher.cancel(kept)
        assert proxy.lost_replies == 7

    due()
    assert not due().appended
    assert sorted(event.number for event in events(inspect, keys)) == [1, 2, 3, 4, 5]
    assert schedule_id not in inspect.hkeys(keys.scheduled)


def test_a_retry_whose_event_was_appended_meanwhile_does_not_schedule_it_again(
    server, namespace, due, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        exchange = publisher._client._exchange
        lost = []

        def lose_the_reply(request):
            reply = exchange(request)
            if request.commands[0][0] != "EVAL" and not lost:
                from busredis.errors import ConnectionLost

                lost.append(due().appended)
                raise ConnectionLost("cut before the reply")
            return reply

        publisher.schedule(Reminded(number=0), at=FUTURE)
        publisher._client._exchange = lose_the_reply
        publisher.schedule(Reminded(number=1), delay=0)

    assert lost == [1]
    assert due().appended == 0
    assert [event.number for event in events(inspect, keys)] == [1]


def test_many_daemons_that_look_at_once_append_each_event_once_in_the_order_of_all_appends(
    server, namespace, inspect, keys
):
    settings, appended = Settings(url=server.url, namespace=namespace), []

    def look(who: str) -> None:
        client = Client(server.url)
        appended.extend(client.run(append_due(keys, settings, who)).appended for _ in range(20))
        client.close()

    with Publisher(server.url, namespace=namespace) as publisher:
        for number in range(2_000):
            publisher.schedule(Reminded(number=number), delay=0)
        threads = [threading.Thread(target=look, args=(f"d{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        published = [publisher.publish(Asked(number=number)) for number in range(200)]
        for thread in threads:
            thread.join()

    ids = [entry_id.decode() for entry_id, _ in inspect.xrange(keys.stream("Reminded"))]
    assert sum(appended) == 2_000
    assert sorted(event.number for event in events(inspect, keys)) == list(range(2_000))
    assert len({parse_id(entry_id) for entry_id in [*ids, *published]}) == 2_200
    assert published == sorted(published, key=parse_id)


def test_handlers_schedule_what_their_event_causes_and_a_burst_handles_what_is_due(
    server, namespace, inspect, keys
):
    router, seen = Router(), []

    @router.on(Asked, name="asks", backoff=0.01)
    async def asks(event: Asked, ctx: Context) -> None:
        await ctx.schedule(Reminded(number=event.number), delay=0, key=f"reminder:{event.event_id}")
        await ctx.schedule(Reminded(), at=FUTURE, key=f"later:{event.event_id}")
        if ctx.attempt == 1:
            raise ValueError("once more")

    @router.on(Reminded, name="is-reminded")
    async def is_reminded(event: Reminded) -> None:
        seen.append(event)

    asked = Asked(number=7)
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(asked)
        Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
        assert [(event.number, event.causation_id) for event in seen] == [(7, str(asked.event_id))]
        assert [one.id for one in publisher.scheduled()] == [f"later:{asked.event_id}"]
        assert publisher.scheduled(0) == []


def test_a_daemon_appends_what_falls_due_while_it_runs_also_after_trouble_with_the_server(
    server, namespace, inspect, keys
):
    router, seen = Router(), []

    @router.on(Reminded, name="is-reminded")
    async def is_reminded(event: Reminded) -> None:
        seen.append(event.number)

    with (
        Proxy(server.port) as proxy,
        Publisher(server.url, namespace=namespace) as publisher,
        Running(Daemon(router, url=proxy.url, namespace=namespace, **FAST)),
    ):
        for number in range(20):
            publisher.schedule(Reminded(number=number), delay=random.uniform(0, 0.5))
            if number % 5 == 0:
                proxy.cut_before_reply(needle=b"EVALSHA")
        wait_until(lambda: sorted(set(seen)) == list(range(20)), "all are handled")

    assert sorted(event.number for event in events(inspect, keys)) == list(range(20))
    assert not inspect.exists(keys.lease("schedule"))
