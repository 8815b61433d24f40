"""Schedules: what a scheduled event costs, what an idle look costs, how late events are under load."""

import random
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta

import redis

from bench.publish import event
from busredis import DomainEvent, Publisher
from busredis.client import Client
from busredis.daemon.scheduler import append_due
from busredis.keys import Keys, parse_id
from busredis.schedule import Schedules
from busredis.settings import Settings

_COUNT, _BATCH, _LOADED = 1_000_000, 500, 20_000


class Other(DomainEvent):
    """What is published meanwhile."""


def run(url: str, count: int = _COUNT) -> None:
    """Fills a schedule with `count` events of the far future; then looks at it, and lets others fall due beside it."""
    settings, keys = Settings(url=url, namespace="bench"), Keys("bench")
    client, server = Client(url), redis.Redis.from_url(url)
    before = server.info("memory")["used_memory"]
    rate = _fill(client, Schedules(settings), count)
    size = (server.info("memory")["used_memory"] - before) / count
    document = statistics.mean(
        len(value) for value in server.hmget(keys.scheduled, server.zrange(keys.schedule, 0, 99))
    )
    print(f"{count:,} scheduled: {size:,.0f} bytes each ({document:,.0f} of them its JSON), {rate:,.0f}/s")

    looks = 2_000
    started, cpu = time.perf_counter(), _cpu(server)
    for _ in range(looks):
        client.run(append_due(keys, settings, "bench"))
    took, used = (time.perf_counter() - started) / looks, (_cpu(server) - cpu) / looks
    print(
        f"an idle look: {took * 1e6:,.0f} us with its round trip, {used * 1e6:,.0f} us of the server's processor"
    )

    late = _lateness(url, client, settings, keys)
    print(
        f"{len(late):,} fell due within 2 s beside them, in ms late: median {late[len(late) // 2]:,.0f}, max {late[-1]:,.0f}"
    )
    started, moved = time.perf_counter(), 0
    server.zadd(keys.schedule, dict.fromkeys(server.zrange(keys.schedule, 0, 99999), 0))
    started = time.perf_counter()
    while appended := client.run(append_due(keys, settings, "bench")).appended:
        moved += appended
    print(f"all due at once: {moved / (time.perf_counter() - started):,.0f} appended/s\n")
    server.flushall()


def _fill(client: Client, schedules: Schedules, count: int) -> float:
    at, one = datetime.now(UTC) + timedelta(days=400), event(1)
    started = time.perf_counter()
    for start in range(0, count, _BATCH):
        changes = [
            schedules.add(
                one.model_copy(update={"event_id": uuid.uuid4()}),
                at=at + timedelta(seconds=random.randrange(10**7)),
                delay=None,
                key=None,
            )
            for _ in range(min(_BATCH, count - start))
        ]
        client.run(schedules.flow(changes, schedules.begin()))
    return count / (time.perf_counter() - started)


def _lateness(url: str, client: Client, settings: Settings, keys: Keys) -> list[float]:
    schedules = Schedules(settings)
    base = datetime.now(UTC) + timedelta(seconds=8)
    for start in range(0, _LOADED, _BATCH):
        changes = [
            schedules.add(
                event(start + n), at=base + timedelta(seconds=random.uniform(0, 2)), delay=None, key=None
            )
            for n in range(_BATCH)
        ]
        client.run(schedules.flow(changes, schedules.begin()))
    with redis.Redis.from_url(url) as server, Publisher(url, namespace="bench") as publisher:
        stream = keys.stream("ActionEvaluatedEvent")
        while server.xlen(stream) < _LOADED:
            # What a Scheduler does, while somebody publishes in bulk to another stream.
            found = client.run(append_due(keys, settings, "bench"))
            if datetime.now(UTC) > base:
                publisher.publish_many([Other() for _ in range(500)])
            time.sleep(0.01 if found.seconds == 0 else min(0.8, found.seconds or 0.8))
        late = []
        for entry_id, fields in server.xrange(stream):
            said = fields[b"event"].partition(b'"occurred_at":"')[2].partition(b'"')[0].decode()
            due = datetime.fromisoformat(said).timestamp() * 1000
            late.append(parse_id(entry_id.decode())[0] - due)
    return sorted(late)


def _cpu(server: redis.Redis) -> float:
    found = server.info("cpu")
    return found["used_cpu_sys"] + found["used_cpu_user"]
