"""A run that is killed anywhere, and run again: every event is in the archive or in Redis, once."""

import os
import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from busredis import EventStore
from busredis.cold import Archive
from busredis.cold.verify import verify
from busredis.keys import Keys
from tests.archive.conftest import cold, hot, publish_old

#: A hundred take minutes: BUSREDIS_TEST_KILLS=100.
KILLS = int(os.environ.get("BUSREDIS_TEST_KILLS", "25"))


@pytest.fixture
def program(server):
    with subprocess.Popen(
        [sys.executable, "-m", "tests.archive.kill_program", server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(archive, delay: float = 0) -> str:
            folder = archive.place.url.rpartition("/")[0]
            print(archive.namespace, folder, delay, 1, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        yield run
        process.stdin.close()


def where_things_are(inspect, keys, archive, published):
    """In Redis and in the archive as bytes on disk say, and what a reader is given."""
    trimmed = {k.decode(): v.decode() for k, v in inspect.hgetall(keys.trimmed).items()}
    found = Counter(cold(archive))
    assert max(found.values(), default=1) == 1
    assert set(hot(inspect, keys)) | set(found) == set(published)
    assert sum(found.values()) >= sum(1 for line in published if is_trimmed(line, trimmed))


def where_it_was(inspect, keys, archive):
    """At which step a run was killed, by what it left."""
    names = archive.place.names()
    if any(name.endswith(".tmp") for name in names):
        return "writing"
    if len([name for name in names if name.endswith(".parquet")]) > len(archive.manifest().files):
        return "before the manifest"
    return "before trimming" if set(hot(inspect, keys)) & set(cold(archive)) else "between files"


def is_trimmed(line, trimmed):
    name, entry_id, _ = line.split(" ", 2)
    reached = tuple(map(int, trimmed.get(name, "0-0").split("-")))
    return tuple(map(int, entry_id.split("-"))) <= reached


@pytest.mark.timeout(600)
def test_killed_at_random_points_no_event_is_lost_or_doubled(program, server, inspect, namespace, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, kills, episode, points, whole = random.Random(seed), 0, 0, Counter(), 0.0
    while kills < KILLS:
        episode += 1
        keys = Keys(f"kill-{namespace[2:]}-{episode}"[::-1])
        archive = Archive(str(tmp_path / str(episode)), keys.namespace)
        published = publish_old(inspect, keys, days=5, a_day=20)
        if not whole:  # how long a run takes that is not killed
            started = time.monotonic()
            assert program(archive) == "done 0"
            whole = (time.monotonic() - started) * 1000
            continue
        outcome = ""
        while not outcome.startswith("done") and kills < KILLS:
            outcome = program(archive, rng.uniform(1, whole))
            assert outcome in ("killed", "done 0")
            kills += outcome == "killed"
            where_things_are(inspect, keys, archive, published)
            if outcome == "killed":
                points[where_it_was(inspect, keys, archive)] += 1

        assert program(archive) == "done 0"

        assert hot(inspect, keys) == []
        assert cold(archive) == published
        assert verify(archive, head=inspect.hget(keys.archive, "head").decode()).problems == []
        with EventStore(
            server.url, namespace=keys.namespace, archive=archive.place.url.rpartition("/")[0]
        ) as store:
            read = [(s.event.event_type, s.position, s.event.to_json().decode()) for s in store.feed()]
        assert sorted(map(" ".join, read)) == published
        assert read == sorted(read, key=lambda row: tuple(map(int, row[1].split("-"))))
    print(f"killed in {dict(points)} over {episode} archives")
