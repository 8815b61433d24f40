"""python -m faults: runs the scenarios, two at a time, and says what was lost, repeated and refused."""

import argparse
import multiprocessing
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from faults.power import strace_version
from faults.run import Result, run
from faults.scenarios import scenarios
from faults.table import DOCUMENT, line, page

_AT_ONCE = 2


def main() -> int:
    """The exit code: 0 if every promise was kept in every scenario."""
    options = _options()
    known = scenarios()
    unknown = set(options.only) - set(known)
    if unknown:
        sys.exit(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    names = options.only or list(known)
    if any(known[name].setting.traced for name in names):
        strace_version()
    print(f"seed {options.seed}; again: python -m faults --seed {options.seed} [--only NAME]\n")
    began, results = time.monotonic(), []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_AT_ONCE, spawn) as pool:
        calls = [
            pool.submit(
                run,
                known[name],
                options.seed,
                events=options.events,
                folder=options.keep and options.keep / name,
            )
            for name in names
        ]
        try:
            for call in as_completed(calls):
                results.append(call.result())
                print(line(results[-1]), flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # what runs ends its processes itself; nothing more is started
            raise
    return _conclude(
        sorted(results, key=lambda r: names.index(r.name)), time.monotonic() - began, options.write
    )


def _conclude(results: list[Result], took_s: float, write: bool) -> int:
    broken = [result for result in results if not result.held]
    confirmed = sum(result.report.confirmed for result in results)
    print(f"\n{len(results)} scenarios, {confirmed:,} events confirmed, in {took_s:.0f} s")
    for result in broken:
        print(f"\n{result.name}: {len(result.report.breaches)} breach(es)")
        print("\n".join(f"  {breach.rule}: {breach.what}" for breach in result.report.breaches[:10]))
    if write and not broken:
        DOCUMENT.write_text(page(results))
        print(f"written: {DOCUMENT.name}")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="replay a run"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="this scenario; may be repeated"
    )
    parser.add_argument("--events", type=int, help="events of each scenario, instead of its own number")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was recorded")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md if all held")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
