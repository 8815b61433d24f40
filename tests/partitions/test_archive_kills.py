"""A run over several partitions that is killed anywhere, and run again."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from busredis.cold.verify import verify
from tests.archive.conftest import cold, hot, publish_old
from tests.partitions.conftest import COUNT
from tests.partitions.metered import PartMetered, archives

KILLS = int(os.environ.get("BUSREDIS_TEST_KILLS", "6"))


@pytest.fixture
def program(server):
    with subprocess.Popen(
        [sys.executable, "-m", "tests.archive.kill_program", server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(namespace, folder, delay: float = 0) -> str:
            print(namespace, folder, delay, COUNT, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        yield run
        process.stdin.close()


@pytest.mark.timeout(600)
def test_killed_between_and_within_partitions_no_event_is_lost_or_doubled(
    program, look, parts, namespace, folder, publisher
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, kills, reached = random.Random(seed), 0, Counter()
    publisher.publish(PartMetered())  # records the number of partitions
    look.delete(*(keys.stream("PartMetered") for keys in parts))
    whole = 0.0
    while kills < KILLS:
        published = {keys: publish_old(look, keys, days=2, a_day=10) for keys in parts}
        began, outcome = time.monotonic(), ""
        while not outcome.startswith("done"):
            outcome = program(
                namespace, folder, rng.uniform(1, whole * 1_000) if whole and kills < KILLS else 0
            )
            assert outcome in ("killed", "done 0")
            kills += outcome == "killed"
            if outcome == "killed":
                reached[sum(1 for keys in parts if look.hlen(keys.trimmed) == 2)] += 1
            for keys, archive in zip(parts, archives(folder, namespace, COUNT), strict=True):
                _check_whole(look, keys, archive, published[keys])
        whole = whole or time.monotonic() - began
        for keys, archive in zip(parts, archives(folder, namespace, COUNT), strict=True):
            assert hot(look, keys) == []
            assert cold(archive) == published[keys]
            assert verify(archive, head=look.hget(keys.archive, "head").decode()).problems == []
            look.delete(keys.trimmed, keys.archive, keys.stream("ColdPaid"), keys.stream("ColdShipped"))
        shutil.rmtree(folder)
    print(f"killed with so many partitions trimmed: {dict(reached)}")


def _check_whole(look, keys, archive, published):
    found = Counter(cold(archive))
    assert max(found.values(), default=1) == 1
    assert set(hot(look, keys)) | set(found) == set(published)
