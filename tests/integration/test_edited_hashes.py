"""What somebody edited by hand in the hashes of a group: said, and stopping nothing."""

import logging

import pytest

from busredis import Context, Daemon, DomainEvent, Router
from busredis.errors import ReplayRefused
from busredis.replay import left
from busredis.status import read_status
from tests.integration.conftest import FAST


class Tampered(DomainEvent):
    number: int = 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("value", [b"x", b"", b"1" * 30, b"\xff"])
def test_no_value_in_stats_or_replay_ends_a_daemon(  # noqa: PLR0917
    server, namespace, client, publisher, inspect, keys, caplog, value, ordered
):
    router, seen = Router(), []

    @router.on(Tampered, name="tampered", ordered=ordered)
    async def handle(event: Tampered, ctx: Context) -> None:
        seen.append((event.number, ctx.replaying))

    stream = keys.stream("Tampered")
    inspect.hset(
        keys.stats("tampered"), mapping={"slowest_us": value, "us:3": value, "us:x": 1, "outcome:ack": value}
    )
    inspect.hset(keys.replay("tampered"), stream, value)
    publisher.publish_many([Tampered(number=n, aggregate_type="T", aggregate_id="t") for n in range(3)])

    with caplog.at_level(logging.WARNING):
        Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
        [group] = client.run(read_status([keys])).groups

    assert seen == [(0, False), (1, False), (2, False)]
    assert group.times.count >= 0
    assert any("which is no entry id" in record.message for record in caplog.records)
    assert any("which is no number" in record.message for record in caplog.records)
    with pytest.raises(ReplayRefused, match=r"which is no entry id: somebody edited it"):
        client.run(left(keys, "tampered"))
