"""A confirmation that waits for durability is one of what was appended, also when the server changed in between."""

import pytest

from busredis import DomainEvent, Publisher
from busredis.append import Appender
from busredis.commands import Request
from busredis.errors import ConnectionLost
from busredis.settings import Settings


class Promoted(DomainEvent):
    number: int = 0


def test_an_append_that_the_waiting_server_does_not_have_is_no_confirmed_one():
    appender = Appender(Settings(durability="replica"))
    attempt = appender.begin()
    flow = appender.flow([appender.record(Promoted())], attempt)
    next(flow)
    waiting = flow.send(b"1-0")

    assert [command[0] for command in waiting.commands] == ["SET", "WAIT", "GET"]
    with pytest.raises(ConnectionLost, match="lost before it was durable"):
        flow.send([b"OK", 1, None])


@pytest.mark.parametrize("answer", [b"1 1-0", b"1 1-0|1"])
def test_an_append_that_the_waiting_server_has_is_confirmed(answer):
    appender = Appender(Settings(durability="replica"))
    flow = appender.flow([appender.record(Promoted())], appender.begin())
    next(flow)
    flow.send(b"1-0")

    with pytest.raises(StopIteration) as stop:
        flow.send([b"OK", 1, answer])
    assert stop.value.value.ids == ["1-0"]


def test_what_a_failover_lost_before_it_was_durable_is_appended_again(server, namespace, inspect, keys):
    with Publisher(server.url, namespace=namespace, durability="replica", publish_timeout=2) as publisher:
        exchange, lost = publisher._client._exchange, []

        def fail_over(request):
            if request.commands[-1][0] == "GET" and not lost:
                # Another server answers from now on, to which the append was not replicated.
                lost.append(inspect.xrange(keys.stream("Promoted")))
                inspect.delete(*inspect.scan_iter(f"{keys.tag}*"))
            commands = tuple(
                ("WAIT", 0, 0) if command[0] == "WAIT" else command for command in request.commands
            )
            replies = exchange(Request(commands, request.together))
            return [replies[0], 1, *replies[2:]] if commands != request.commands else replies

        publisher._client._exchange = fail_over
        entry_id = publisher.publish(Promoted(number=1))

    assert len(lost[0]) == 1
    assert [found.decode() for found, _ in inspect.xrange(keys.stream("Promoted"))] == [entry_id]
