"""What is measured while it runs, and what must hold of it."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import redis

from soak.cast import Cast
from soak.events import read

#: The daemon that is never killed may grow by so much, from the second quarter of the run to the last.
RSS_MB = 6.0
#: Bytes of server memory for one event: 320 of JSON, and what a stream and its groups add.
BYTES_PER_EVENT = 600.0
#: Bytes of all keys that are no stream of events, once all is handled.
BESIDES = 1_000_000


@dataclass(frozen=True)
class Sample:
    seconds: float
    published: int
    handled: int
    rss_mb: float
    server_mb: float
    entries: int


@dataclass
class Figures:
    samples: list[Sample] = field(default_factory=list)

    def growth_mb(self) -> float:
        quarter = max(1, len(self.samples) // 4)
        second = self.samples[quarter : 2 * quarter] or self.samples
        return statistics.median(s.rss_mb for s in self.samples[-quarter:]) - statistics.median(
            s.rss_mb for s in second
        )

    def slope_mb_per_minute(self) -> float:
        later = self.samples[len(self.samples) // 4 :]
        if len(later) < 3:
            return 0.0
        found = statistics.linear_regression([s.seconds / 60 for s in later], [s.rss_mb for s in later])
        return found.slope

    def bytes_per_event(self) -> float:
        first, last = self.samples[0], self.samples[-1]
        return (last.server_mb - first.server_mb) * 1e6 / max(1, last.entries - first.entries)

    def problems(self) -> list[str]:
        """What does not keep its bound."""
        found = []
        if self.growth_mb() > RSS_MB:
            found.append(f"a daemon grew by {self.growth_mb():.1f} MB, {RSS_MB} are allowed")
        if self.bytes_per_event() > BYTES_PER_EVENT:
            found.append(
                f"an event took {self.bytes_per_event():.0f} bytes, {BYTES_PER_EVENT:.0f} are allowed"
            )
        return found


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def besides(client: redis.Redis) -> tuple[int, int]:
    """How many keys there are that are no stream of events, and their bytes."""
    keys = [key for key in client.scan_iter(count=1000) if b":stream:" not in key]
    return len(keys), sum(client.memory_usage(key, samples=0) or 0 for key in keys)


def balance(cast: Cast) -> tuple[list[str], str]:
    """What is wrong with what was handled, and the account of it in a line."""
    published, handled = read(cast.folder, "published"), read(cast.folder, "handled")
    confirmed = {number for mark, number in published if mark == "ok"}
    attempted = {number for _, number in published}
    with cast.connect() as client:
        dead = sum(client.xlen(key) for key in client.scan_iter("{busredis}:dead:*"))
        entries = client.xlen("{busredis}:stream:Soaked")
    problems = [f"{dead} dead letters"] if dead else []
    counts = Counter(handled)
    for group in ("g1", "g2"):
        seen = {number for mark, number in counts if mark == group}
        if confirmed - seen:
            problems.append(f"{group}: {len(confirmed - seen)} LOST, as {min(confirmed - seen)}")
        if seen - attempted:
            problems.append(f"{group}: {len(seen - attempted)} handled that nobody published")
    if entries < len(confirmed) or entries > len(attempted):
        problems.append(
            f"{entries} entries for {len(confirmed)} confirmed, {len(attempted)} attempted events"
        )
    again = sum(counts.values()) - len(counts)
    return problems, (
        f"{len(confirmed):,} confirmed, {len(attempted) - len(confirmed)} indeterminate, "
        f"{len(counts):,} handled by 2 groups, {again} of them again, {dead} dead"
    )
