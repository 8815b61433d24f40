"""Interleaved rounds, their medians, and what a run has found."""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One figure; `ratio` is to the row of the same case whose name is `base`, and larger is faster."""

    case: str
    name: str
    value: float
    unit: str
    ratio: float | None = None
    base: str = ""


#: Everything that was shown in this run.
FOUND: list[Row] = []


def rates(
    cases: dict[str, Callable[[], int]], rounds: int = 5, clean: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Median events/s of each case; a case does its work and returns how many events that was; `clean` is not timed."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            started = time.perf_counter()
            count = work()
            found[name].append(count / (time.perf_counter() - started))
            clean()
    return {name: statistics.median(values) for name, values in found.items()}


async def rates_async(
    cases: dict[str, Callable[[], Awaitable[int]]],
    rounds: int = 5,
    clean: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """As rates(), on the loop."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, work in cases.items():
            started = time.perf_counter()
            count = await work()
            found[name].append(count / (time.perf_counter() - started))
            clean()
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
    """Events/s, with the ratio to `base`."""
    print(title, flush=True)
    for name, rate in rows.items():
        FOUND.append(Row(title, name, rate, "/s", rate / rows[base], base))
        print(f"  {rate / rows[base]:6.2f}x  {rate:10,.0f}/s  {name}", flush=True)
    print()


def note(title: str, rows: dict[str, tuple[float, str]]) -> None:
    """Figures that are no rates, each with its unit."""
    print(title, flush=True)
    for name, (value, unit) in rows.items():
        FOUND.append(Row(title, name, value, unit))
        print(f"  {value:10,.3f} {unit:12}  {name}", flush=True)
    print()


def found() -> list[dict[str, object]]:
    return [asdict(row) for row in FOUND]
