import asyncio
import threading

import pytest

from busredis import AsyncPublisher, DomainEvent, Publisher, PublishIndeterminate, PublishRefused
from busredis.errors import EncodeError
from busredis.keys import parse_id
from tests.servers import TestServer, chosen_server


class Noted(DomainEvent):
    number: int = 0
    text: str = ""


class Filed(DomainEvent):
    number: int = 0


def test_ids_rise_over_all_type_streams_also_beside_foreign_entries_and_a_clock_that_steps_back(
    server, namespace, inspect, keys
):
    with Publisher(server.url, namespace=namespace) as publisher:
        ids = publisher.publish_many([Noted(), Filed(), Noted()])
        inspect.xadd(keys.stream("Noted"), {"event": "{}"}, id=f"{parse_id(ids[-1])[0] + 60_000}-3")
        ids += publisher.publish_many([Filed(), Noted(), Filed()])
        inspect.set(keys.clock, f"{parse_id(ids[-1])[0] + 3_600_000}-5")
        ids += [publisher.publish(Filed()), publisher.publish(Noted())]

    positions = [parse_id(entry_id) for entry_id in ids]
    assert positions == sorted(set(positions))


def test_a_batch_is_written_whole_or_not_at_all(server, namespace, inspect, keys):
    inspect.set(keys.stream("Filed"), "a string")
    with Publisher(server.url, namespace=namespace) as publisher:
        with pytest.raises(PublishRefused, match="WRONGTYPE"):
            publisher.publish_many([Noted(), Noted(), Filed()])
        with pytest.raises(EncodeError, match="limit"):
            publisher.publish_many([Noted(), Noted(text="x" * 2_000_000)])

    assert inspect.xlen(keys.stream("Noted")) == 0


def test_an_idempotency_key_stores_an_event_once(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        first = publisher.publish(Noted(number=1), key="order-1")
        assert publisher.publish(Noted(number=1), key="order-1") == first
        with pytest.raises(PublishRefused, match="'order-1' was used for another event"):
            publisher.publish(Noted(number=2), key="order-1")

    assert inspect.xlen(keys.stream("Noted")) == 1


async def test_calls_in_flight_share_appends_and_keep_their_order(server, namespace, inspect, keys):
    async with AsyncPublisher(server.url, namespace=namespace) as publisher:
        ids = await asyncio.gather(*(publisher.publish(Noted(number=n)) for n in range(3_000)))

    assert ids == sorted(ids, key=parse_id)
    assert inspect.xlen(keys.stream("Noted")) == 3_000


async def test_one_callers_refusal_is_not_the_others(server, namespace, inspect, keys):
    inspect.set(keys.stream("Filed"), "a string")
    async with AsyncPublisher(server.url, namespace=namespace) as publisher:
        calls = [publisher.publish(Filed() if n == 5 else Noted(number=n)) for n in range(10)]
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert [isinstance(result, PublishRefused) for result in results] == [n == 5 for n in range(10)]
    assert inspect.xlen(keys.stream("Noted")) == 9


async def test_closing_writes_what_waits(server, namespace, inspect, keys):
    publisher = AsyncPublisher(server.url, namespace=namespace, buffer_events=100)
    calls = [asyncio.create_task(publisher.publish(Noted(number=n))) for n in range(50)]
    await asyncio.sleep(0)
    await publisher.close()
    await asyncio.gather(*calls)

    assert inspect.xlen(keys.stream("Noted")) == 50
    with pytest.raises(PublishRefused, match="closed"):
        await publisher.publish(Noted())


def test_without_a_server_a_publish_is_refused_in_time(free_port, clock):
    with Publisher(f"redis://127.0.0.1:{free_port}/0", publish_timeout=0.5) as publisher:
        for _ in range(2):
            began = clock.elapsed
            with pytest.raises(PublishRefused, match="not written"):
                publisher.publish(Noted())
            assert 0 < clock.elapsed - began <= 0.5

    assert len(clock.pauses) > 2, "it was tried again"


def test_an_append_without_a_server_is_refused_in_time_also_by_a_publisher_that_had_one(clock, tmp_path):
    with TestServer(chosen_server()[1], tmp_path) as server:
        with Publisher(server.url, publish_timeout=0.5) as publisher:
            publisher.publish(Noted())
            server.kill()
            began, tries = clock.elapsed, len(clock.pauses)
            with pytest.raises(PublishIndeterminate, match="no answer"):
                publisher.publish(Noted())

    assert 0 < clock.elapsed - began <= 0.5
    assert len(clock.pauses) - tries > 1


def test_a_publish_without_an_answer_is_indeterminate(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace, publish_timeout=0.4) as publisher:
        publisher.publish(Noted())
        inspect.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        with pytest.raises(PublishIndeterminate, match="no answer"):
            publisher.publish(Noted())
    inspect.ping()


def test_a_lost_reply_is_retried_and_stored_once(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Noted(number=0))
        exchange, lost = publisher._client._exchange, []

        def lose_the_reply(request):
            reply = exchange(request)
            if not lost:
                lost.append(reply)
                from busredis.errors import ConnectionLost

                raise ConnectionLost("cut before the reply")
            return reply

        publisher._client._exchange = lose_the_reply
        entry_id = publisher.publish(Noted(number=1))

    assert lost == [entry_id.encode()]
    assert inspect.xlen(keys.stream("Noted")) == 2


def test_threads_may_share_a_publisher(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace) as publisher:
        threads = [
            threading.Thread(target=lambda: [publisher.publish(Noted()) for _ in range(100)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert inspect.xlen(keys.stream("Noted")) == 800
