"""The results as lines and as docs/reliability.md, which no hand writes."""

import platform
from pathlib import Path

from faults.power import strace_version
from faults.run import Result
from faults.scenarios import scenarios

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
_HEAD = """# Faults, and what they led to

Written by `make faults ARGS="--seed {seed} --write"`, not by hand, from a run in which every promise was kept:
{server}, Python {python}, {strace}; {count} scenarios, {confirmed:,} events confirmed to their publishers,
**{lost} of them lost**, each handled by two groups. Half of them have an effect on Redis (`ctx.effects`): {effects:,} were
applied, **{twice} twice, {missing} missing**.

Publishers, daemons and servers are processes of their own; the faults are real (signals, a proxy that cuts, commands to
the server); the checker (`faults/checker.py`) believes only what the processes wrote down while they worked, and what the
streams, pending lists and dead letters hold afterwards. A run fails if a confirmed event is missing or was acknowledged
without having been handled, if something was stored twice, handled unasked, retried before its pause or too often,
given up without a cause, handled again with no fault near that explains it, if an effect was applied twice, never, or for
a handler that did not finish, or if the fault was not felt at all.

| scenario | what is injected | faults | confirmed | refused, unknown | lost | erased by the fault | handled again | effects, again | ended late |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""
_TAIL = """
- *refused, unknown*: told so to the publisher. None of the refused were stored.
- *erased by the fault*: confirmed, and gone by the nature of the fault: by the command (FLUSHALL, DEL), or as
  `durability="memory"` cannot survive it. In brackets, how long before the fault the first of them was confirmed.
- *handled again*: runs beyond the first of one event in one group, of {handled:,} handled. Handlers must be idempotent.
- *effects, again*: applied together with the acknowledgement; again only where a group was lost by command (FLUSHALL, DEL,
  XGROUP DESTROY) and so forgot what it had done.
- *ended late*: runs that ended after another process had begun to run the entry, as those of a zombie, a daemon that was
  stopped for longer than its lease. Nothing that it then tells the server touches the entry of another.
- While the server takes no writes (out of memory, read-only) a dead letter cannot be written: its entry waits and its
  handler runs once more than `max_attempts`, half a minute later.
- After a failover or a power loss a handler may have run for an entry that was not confirmed yet and is gone; the
  publisher's retry stores the event again, with the same `event_id` and another entry id.

## How power loss is emulated

SIGKILL alone says nothing about power: the page cache outlives the process. The server runs under strace, which tells how
long the append-only file was when the last `fdatasync` began that came to its end. After SIGKILL the file is cut to that
length, as a disk would hold that kept nothing else, and the server starts from it.

| mode | power losses | bytes cut off | confirmed events lost | the first of them was confirmed, before the loss |
|---|--:|--:|--:|--:|
"""


def line(result: Result) -> str:
    """One result for the terminal."""
    report = result.report
    verdict = "held " if result.held else "BROKE"
    return (
        f"{verdict} {result.name:22} {result.took_s:5.1f} s  {result.injected:3} faults  {report.confirmed:7,} confirmed"
        f"  {report.refused:5,} refused  {report.unknown:6,} unknown  {report.erased:6,} erased"
        f"  {report.again:6,} again  {report.dead:3} dead  {report.late:3,} late"
    )


def page(results: list[Result]) -> str:
    """docs/reliability.md."""
    facts = {
        "seed": results[0].seed,
        "server": results[0].server,
        "python": platform.python_version(),
        "strace": strace_version(),
        "count": len(results),
        "confirmed": sum(result.report.confirmed for result in results),
        "lost": sum(result.report.lost for result in results),
        "effects": sum(result.report.effects for result in results),
        "twice": _breaches(results, "effect twice"),
        "missing": _breaches(results, "effect missing"),
        "handled": sum(result.report.handled for result in results),
    }
    known = scenarios()
    power = [result for result in results if known[result.name].setting.traced]
    parts = [_HEAD.format(**facts), *map(_row, results), _TAIL.format(**facts), *map(_power_row, power)]
    return "".join(parts)


def _breaches(results: list[Result], rule: str) -> int:
    return sum(breach.rule == rule for result in results for breach in result.report.breaches)


def _row(result: Result) -> str:
    report = result.report
    cells = (
        result.name,
        result.what,
        f"{result.injected}",
        f"{report.confirmed:,}",
        f"{report.refused:,}, {report.unknown:,}" if report.refused or report.unknown else "",
        f"{report.lost:,}",
        _erased(result),
        f"{report.again:,}" if report.again else "",
        f"{report.effects:,}" + (f", {report.effects_again:,}" if report.effects_again else ""),
        f"{report.late:,}" if report.late else "",
    )
    return f"| {' | '.join(cells)} |\n"


def _power_row(result: Result) -> str:
    report = result.report
    first = f"{report.erased_window_s:.2f} s" if report.erased else ""
    mode = scenarios()[result.name].remark
    return (
        f"| {mode} | {result.injected} | {result.cut_bytes:,} | {report.erased + report.lost:,} | {first} |\n"
    )


def _erased(result: Result) -> str:
    report = result.report
    if not report.erased:
        return ""
    window = f" ({report.erased_window_s:.2f} s)" if report.erased_window_s else ""
    return f"{report.erased:,}{window}"
