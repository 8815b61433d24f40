"""What a large schedule costs, in a short form of `python -m bench schedule`."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from busredis import DomainEvent
from busredis.client import Client
from busredis.daemon.scheduler import append_due
from busredis.schedule import Schedules
from busredis.settings import Settings
from tests.servers import TestServer, chosen_server

COUNT, BATCH = 100_000, 500
#: Beside its JSON an event is an id of 36 characters in a sorted set and in a hash.
OVERHEAD = 350


class Distant(DomainEvent):
    number: int = 0


@pytest.mark.timeout(240)
def test_100_000_scheduled_events_are_cheap_to_keep_and_to_look_at_and_all_are_appended(
    tmp_path, namespace, keys, capsys
):
    import redis

    name, binary = chosen_server()
    with TestServer(binary, tmp_path, appendonly=False) as server, redis.Redis(port=server.port) as inspect:
        settings, client = Settings(url=server.url, namespace=namespace), Client(server.url)
        schedules, event = Schedules(settings), Distant()
        at, before = datetime.now(UTC) + timedelta(days=400), inspect.info("memory")["used_memory"]
        for start in range(0, COUNT, BATCH):
            events = [
                event.model_copy(update={"event_id": uuid.uuid4(), "number": start + n}) for n in range(BATCH)
            ]
            changes = [schedules.add(one, at=at, delay=None, key=None) for one in events]
            client.run(schedules.flow(changes, schedules.begin()))
        size = (inspect.info("memory")["used_memory"] - before) / COUNT
        document = len(inspect.hget(keys.scheduled, str(events[0].event_id)))

        inspect.config_resetstat()
        for _ in range(100):
            assert client.run(append_due(keys, settings, "d")).appended == 0
        idle = inspect.info("commandstats")
        inspect.eval(
            "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1, id) end",
            1,
            keys.schedule,
        )
        while client.run(append_due(keys, settings, "d")).appended:
            pass
        found = {
            Distant.from_json(fields[b"event"]).number for _, fields in inspect.xrange(keys.stream("Distant"))
        }
        client.close()

        with capsys.disabled():
            print(
                f"\n{name}: {COUNT:,} scheduled events, {size:,.0f} bytes each ({document:,} of them its JSON and type); "
                f"an idle look: {idle['cmdstat_evalsha']['usec_per_call']:,.1f} us of the server"
            )
        assert size < document + OVERHEAD
        # A look reads the front of the schedule and whose turn it is; it writes nothing but that, now and then.
        assert idle["cmdstat_zrangebyscore"]["calls"] == idle["cmdstat_evalsha"]["calls"] == 100
        assert {c for c in idle if c in ("cmdstat_hmget", "cmdstat_xadd", "cmdstat_zrem")} == set()
        assert found == set(range(COUNT))
        assert inspect.xlen(keys.stream("Distant")) == COUNT
        assert not inspect.exists(keys.schedule, keys.scheduled)
