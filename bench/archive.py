"""Cold storage: a million events out of Redis, their bytes before and after, and an aggregate that lives in both."""

import os
import random
import tempfile
import time
from collections.abc import Callable
from typing import TypeVar

import redis
from pydantic import BaseModel

from bench.publish import event as plain
from busredis import EventSourcedAggregate, EventStore, Publisher, Repository, SnapshotPolicy, applies
from busredis.archiver import Archiver
from busredis.catalog import UserLoggedInEvent
from busredis.client import Client
from busredis.cold import Archive
from busredis.cold.verify import verify
from busredis.keys import Keys

_COUNT = int(os.environ.get("BENCH_EVENTS", "1000000"))
_HISTORY = 20_000
_EVERYTHING = "99999999999999-0"

Result = TypeVar("Result")


class SeenState(BaseModel):
    logins: int = 0
    last: str = ""


class Seen(EventSourcedAggregate[SeenState], snapshots=SnapshotPolicy(every=None)):
    @applies(UserLoggedInEvent)
    def _logged_in(self, fact: UserLoggedInEvent) -> None:
        self.state.logins += 1
        self.state.last = fact.session_id


def login(number: int) -> UserLoggedInEvent:
    """As random as the real ones: a user of thousands, a session, an address, a request."""
    rng = random.Random(number)
    return UserLoggedInEvent(
        username=f"user-{rng.randrange(5_000)}",
        session_id=f"{rng.getrandbits(64):016x}",
        ip_address=f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}",
        correlation_id=f"{rng.getrandbits(128):032x}",
        user_id=f"user-{rng.randrange(5_000)}",
    )


class Clock:
    """Times work, and says what of it was CPU of this process and of the server: on a busy machine the wall tells little."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)

    def _server(self) -> float:
        info = self._redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def __call__(self, what: str, count: int, work: Callable[[], Result]) -> Result:
        began, used, served = time.perf_counter(), time.process_time(), self._server()
        result = work()
        took, used = time.perf_counter() - began, time.process_time() - used
        served = self._server() - served
        print(
            f"  {count / took:9,.0f}/s  {took:6.1f} s (CPU {used:5.1f} s, the server's {served:5.1f} s)  {what}"
        )
        return result


def run(url: str) -> None:
    timed, client, keys = Clock(url), Client(url), Keys("bench-archive")
    plain_redis = redis.Redis.from_url(url)
    with tempfile.TemporaryDirectory() as folder, Publisher(url, namespace=keys.namespace) as publisher:
        archive = Archive(folder, keys.namespace)
        print(f"archive {_COUNT:,} events, half of them repetitive, half random")
        for start in range(0, _COUNT // 2, 5_000):
            numbers = range(start, min(_COUNT // 2, start + 5_000))
            publisher.publish_many([plain(number) for number in numbers])
            publisher.publish_many([login(number) for number in numbers])
        hot = {
            name: plain_redis.memory_usage(keys.stream(name), samples=0)
            for name in ("ActionEvaluatedEvent", "UserLoggedInEvent")
        }
        done = timed(
            "archived: written, read back, trimmed", _COUNT, Archiver(client, keys, archive, _EVERYTHING).run
        )
        for one in done:
            warm, cold = hot[one.event_type] / one.entries, one.cold_bytes / one.entries
            print(f"  {warm:6.0f} bytes/event hot, {cold:5.1f} cold, {cold / warm:5.1%}  {one.event_type}")
        found = timed("verified", _COUNT, lambda: verify(archive, head=archive.manifest().head))
        assert not found.problems
        with EventStore(url, namespace=keys.namespace, archive=folder) as store:
            seen = timed("read by a feed, from the archive", _COUNT, lambda: sum(1 for _ in store.feed()))
            assert seen == _COUNT
            _rebuild(timed, store, Archiver(client, keys, archive, _EVERYTHING))
    plain_redis.flushall()


def _rebuild(timed: Clock, store: EventStore, archiver: Archiver) -> None:
    """An aggregate, the first half of whose events is archived."""
    print(f"rebuild an aggregate of {_HISTORY:,} events")
    for half in range(2):
        for start in range(half * _HISTORY // 2, (half + 1) * _HISTORY // 2, 500):
            store.append(("Seen", "one"), start, [login(number) for number in range(start, start + 500)])
        if half == 0:
            [archived] = [one for one in archiver.run() if one.entries]
            assert archived.entries == _HISTORY // 2
    repository = Repository(store)
    for _ in range(2):
        seen = timed("half of it archived", _HISTORY, lambda: repository.load(Seen, "one"))
        assert (seen.version, seen.state.last) == (_HISTORY, login(_HISTORY - 1).session_id)
