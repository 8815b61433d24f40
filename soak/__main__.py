"""python -m soak [MINUTES] [SEED]: steady load and random faults, for as long as one likes.

Publishers and daemons are processes, the server is a real one. Every few seconds something is killed, cut or restarted.
The exit code is 1 if anything that was confirmed is not handled by every group, or if memory grows beyond its bound.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import redis

from soak.cast import RATE, Cast
from soak.events import lines
from soak.figures import BESIDES, Figures, Sample, balance, besides, rss_mb

#: Seconds from one fault to the next, and between samples.
PAUSE = (3.0, 9.0)
SAMPLE = 3.0
#: What is left at the end must be handled within this time.
DRAIN_SECONDS = 60.0


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        cast = Cast(Path(folder), random.Random(seed))
        print(f"{minutes:g} minutes on {cast.name}, {RATE:.0f} events/s, seed {seed}", flush=True)
        try:
            return _soak(cast, minutes * 60)
        finally:
            cast.close()


def _soak(cast: Cast, seconds: float) -> int:
    cast.start()
    figures = _run(cast, seconds)
    problems = [f"a publisher ended with {code}" for code in cast.stop_publishing() if code]
    started = time.monotonic()
    if not cast.drained(DRAIN_SECONDS):
        problems.append(f"not all was handled within {DRAIN_SECONDS:.0f} s after the last event")
    print(f"drained in {time.monotonic() - started:.1f} s after the last event")
    wrong, account = balance(cast)
    with cast.connect() as client:
        count, size = besides(client)
    problems += [f"a daemon ended with {code}" for code in cast.stop_daemons() if code]
    problems += wrong + figures.problems()
    if size > BESIDES:
        problems.append(f"{count} keys beside the streams take {size:,} bytes")
    _tell(figures, cast, account, f"{count} keys beside the streams take {size:,} bytes")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def _run(cast: Cast, seconds: float) -> Figures:
    """Load and faults, until the time is over."""
    figures, started = Figures(), time.monotonic()
    fault_at = sample_at = SAMPLE
    while (now := time.monotonic() - started) < seconds:
        if now >= fault_at:
            print(f"  {now:6.1f} s  {cast.fault()}", flush=True)
            fault_at = now + cast.chance.uniform(*PAUSE)
        if now >= sample_at:
            sample_at = now + SAMPLE
            _sample(cast, figures, now)
        time.sleep(0.1)
    return figures


def _sample(cast: Cast, figures: Figures, now: float) -> None:
    try:
        with cast.connect() as client:
            used = client.info("memory")["used_memory"] / 1e6
            entries = client.xlen("{busredis}:stream:Soaked")
    except redis.RedisError:
        return  # it was hit just now; the next sample will do
    published, handled = lines(cast.folder, "published"), lines(cast.folder, "handled")
    sample = Sample(now, published, handled, rss_mb(cast.daemons[0].pid), used, entries)
    figures.samples.append(sample)
    print(
        f"  {now:6.1f} s  published {published:>9,}  handled {handled:>9,}  "
        f"daemon {sample.rss_mb:6.1f} MB  server {used:6.1f} MB",
        flush=True,
    )


def _tell(figures: Figures, cast: Cast, account: str, keys: str) -> None:
    if figures.samples:
        first, last = figures.samples[0], figures.samples[-1]
        print(f"\ndaemon  {first.rss_mb:.1f} MB at first, {last.rss_mb:.1f} MB at last", end="; ")
        print(f"{figures.growth_mb():+.1f} MB from the second quarter to the last", end="; ")
        print(f"slope {figures.slope_mb_per_minute():+.2f} MB/min")
        print(f"server  {first.server_mb:.1f} MB at first, {last.server_mb:.1f} MB at last", end="; ")
        print(f"{figures.bytes_per_event():.0f} bytes an event; {keys}")
    print(f"faults  {', '.join(f'{count} x {what}' for what, count in sorted(cast.faults.items()))}")
    print(f"events  {account}")


sys.exit(main())
