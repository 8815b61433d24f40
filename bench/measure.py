"""Interleaved rounds and their medians."""

import statistics
import time
from collections.abc import Callable


def rates(cases: dict[str, Callable[[], int]], rounds: int = 5) -> dict[str, float]:
    """Median events/s of each case; a case does its work and returns how many events that was."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            started = time.perf_counter()
            count = work()
            found[name].append(count / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(cases: dict[str, Callable[[], float | None]], rounds: int = 5) -> dict[str, float]:
    """Median seconds of each case; a case that was timed by somebody else returns its seconds."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            started = time.perf_counter()
            took = work()
            found[name].append(time.perf_counter() - started if took is None else took)
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, rows: dict[str, float], base: str) -> None:
    print(title)
    for name, rate in rows.items():
        print(f"  {rate / rows[base]:6.2f}x  {rate:10,.0f}/s  {name}")
    print()
