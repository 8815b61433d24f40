"""How long the inputs took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: An input that takes longer is shown.
SLOW_SECONDS = 0.05


@dataclass
class Clock:
    """Feeds inputs until `seconds` have passed, and tells how long they took."""

    seconds: float
    feed_one: Callable[[bytes], None]
    took: list[float] = field(default_factory=list)
    slow: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def over(self) -> bool:
        return time.monotonic() - self.started > self.seconds

    def feed(self, data: bytes) -> None:
        """One input. Raises what `feed_one` raises, after it was shown."""
        began = time.perf_counter()
        try:
            self.feed_one(data)
        except BaseException:
            print(f"FAILED on {len(data):,} bytes: {data[:2_000]!r}", flush=True)
            raise
        took = time.perf_counter() - began
        self.took.append(took)
        if took > SLOW_SECONDS:
            self.slow.append((took, data))

    def tell(self) -> None:
        """Prints the figures."""
        times = sorted(self.took) or [0.0]
        shown = {
            share: times[min(len(times) - 1, int(len(times) * share))] * 1000 for share in (0.5, 0.99, 0.9999)
        }
        print(
            f"{len(self.took):,} inputs in {time.monotonic() - self.started:.0f} s, nothing but what may come of them"
        )
        print("ms: " + ", ".join(f"p{share * 100:g} {value:.3f}" for share, value in shown.items()), end="")
        print(f", slowest {times[-1] * 1000:.1f}")
        for took, data in sorted(self.slow, reverse=True)[:5]:
            print(f"slow: {took * 1000:.0f} ms for {len(data):,} bytes: {data[:80]!r}")
