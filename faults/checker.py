"""Compares what a run told with what its server holds, and names every breach of a promise.

It trusts nothing that busredis counts: only the lines that publishers and handlers wrote, the streams, the pending lists
and the dead letters. A rule yields one sentence for each breach.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from busredis.keys import parse_id
from faults.history import NOTHING, Fault, History, LeadsTo, Publish, Run
from faults.report import Breach, Dead, Found, Report, Terms

#: A fault may still be felt for so long after its end, until connections and leases are as before.
_AFTERMATH_NS = 4_000_000_000
_EVER = 2**63
#: The server measures pauses in whole ms, by a clock that it reads once a command.
_TOLERANCE_NS = 3_000_000


def check(history: History, found: Found, terms: Terms) -> Report:
    """All rules over one run."""
    case = _Case(history, found, terms)
    report = case.report
    for publish in history.publishes:
        name = {"ok": "confirmed", "fail": "refused"}.get(publish.outcome, "unknown")
        setattr(report, name, getattr(report, name) + publish.count)
    report.handled = sum(any(run.end == "done" for run in runs) for runs in case.runs.values())
    report.dead = len(found.dead)
    for rule, breaches in _RULES.items():
        report.breaches += [Breach(rule, what) for what in breaches(case)]
    return report


class _Case:
    """One run with what the rules look up in it."""

    def __init__(self, history: History, found: Found, terms: Terms) -> None:
        self.history, self.found, self.terms = history, found, terms
        self.report = Report()
        self.stored: dict[int, list[str]] = {}
        for entry_id, number in found.entries:
            self.stored.setdefault(number, []).append(entry_id)
        self.number_of = dict(found.entries)
        self.publish_of: dict[int, Publish] = {}
        for publish in history.publishes:
            self.publish_of.update(dict.fromkeys(publish.numbers, publish))
        #: The runs of each event in each group, in time.
        self.runs: dict[tuple[str, int], list[Run]] = {}
        for run in sorted(history.runs, key=lambda run: run.started_at):
            self.runs.setdefault((run.group, run.number), []).append(run)
        self.dead: dict[tuple[str, int], list[Dead]] = {}
        for letter in found.dead:
            self.dead.setdefault((letter.group, letter.number), []).append(letter)

    def eraser(self, publish: Publish) -> Fault | None:
        """The fault that may have erased what this append stored."""
        for fault in self.history.faults:
            unanswered = not publish.answered_at
            if (
                fault.erases_since != NOTHING
                and publish.invoked_at <= fault.ended
                and (unanswered or publish.answered_at >= fault.erases_since)
            ):
                return fault
        return None

    def excuse(self, since: int, until: int, *marks: LeadsTo) -> Fault | None:
        """The fault between two moments, or shortly before, that may lead to one of these."""
        for fault in self.history.faults:
            near = fault.began <= until and fault.ended + _AFTERMATH_NS >= since
            if near and not fault.leads_to.isdisjoint(marks):
                return fault
        return None


def _lost(case: _Case) -> Iterator[str]:
    for publish in case.history.publishes:
        if publish.outcome != "ok":
            continue
        missing = [number for number in publish.numbers if number not in case.stored]
        if not missing:
            continue
        eraser = case.eraser(publish)
        if eraser is None:
            case.report.lost += len(missing)
            yield f"{len(missing)} confirmed event(s) from {missing[0]} on are not in the stream"
        else:
            case.report.erased += len(missing)
            if eraser.erases_since > 0:
                window = (eraser.ended - publish.answered_at) / 1e9
                case.report.erased_window_s = max(case.report.erased_window_s, window)


def _acknowledged_without_having_run(case: _Case) -> Iterator[str]:
    for group in case.terms.groups:
        unfinished = case.found.unfinished.get(group, set())
        for entry_id, number in case.found.entries:
            runs = case.runs.get((group, number), ())
            settled = any(run.end == "done" for run in runs) or (group, number) in case.dead
            if not settled and entry_id not in unfinished:
                yield f"{group}: event {number} ({entry_id}) was neither handled nor given up, and is not pending"


def _unfinished(case: _Case) -> Iterator[str]:
    for group, ids in case.found.unfinished.items():
        if ids:
            yield f"{group}: {len(ids)} entries from {min(ids)} on are pending or unread when all should be done"


def _phantom(case: _Case) -> Iterator[str]:
    yield from (f"event {n} is stored, nobody published it" for n in case.stored if n not in case.publish_of)
    for (group, number), runs in case.runs.items():
        publish = case.publish_of.get(number)
        if publish is None:
            yield f"{group}: event {number} was handled, nobody published it"
            continue
        for run in runs:
            known = case.number_of.get(run.entry_id)
            gone = case.eraser(publish) or case.excuse(run.started_at, _EVER, "rewinds")
            if known == number or (known is None and gone):
                continue
            yield f"{group}: event {number} was handled as entry {run.entry_id}, where the stream has {known}"


def _stored_twice(case: _Case) -> Iterator[str]:
    yield from (
        f"event {n} is stored as {' and '.join(ids)}" for n, ids in case.stored.items() if len(ids) > 1
    )


def _refused_but_present(case: _Case) -> Iterator[str]:
    for publish in case.history.publishes:
        if publish.outcome == "fail":
            present = [number for number in publish.numbers if number in case.stored]
            if present:
                yield f"{len(present)} event(s) from {present[0]} on were refused, and are stored"


def _torn(case: _Case) -> Iterator[str]:
    for publish in case.history.publishes:
        present = sum(number in case.stored for number in publish.numbers)
        if 0 < present < publish.count:
            yield f"of an append of {publish.count} events from {publish.first} on, {present} are stored"


def _misplaced(case: _Case) -> Iterator[str]:
    for publish in case.history.publishes:
        for number, entry_id in zip(publish.numbers, publish.ids, strict=False):
            if number in case.stored and entry_id not in case.stored[number]:
                yield f"event {number} was confirmed as {entry_id}, and is stored as {case.stored[number][0]}"


def _ids_that_fall(case: _Case) -> Iterator[str]:
    last: dict[str, tuple[int, int]] = {}
    for publish in case.history.publishes:
        if publish.outcome != "ok" or publish.first not in case.stored:
            continue
        first = parse_id(case.stored[publish.first][0])
        if first <= last.get(publish.publisher, (0, 0)):
            yield f"event {publish.first} has an id before those that its publisher was told earlier"
        last[publish.publisher] = parse_id(case.stored.get(publish.numbers[-1], ["0"])[0])


def _repeated_without_a_cause(case: _Case) -> Iterator[str]:
    for (group, number), runs in case.runs.items():
        case.report.again += max(0, sum(run.end == "done" for run in runs) - 1)
        for earlier, later in pairwise(runs):
            case.report.late += earlier.pid != later.pid and earlier.ended_at > later.started_at
            if earlier.end == "failed" and later.started_at > earlier.ended_at:
                continue
            if case.excuse(earlier.started_at, later.started_at, "repeats") is None:
                how = earlier.end or "started"
                yield f"{group}: event {number} was {how} as attempt {earlier.attempt} and ran again, no fault near"
        if runs[0].attempt > 1 and case.excuse(0, runs[0].started_at, "repeats") is None:
            yield f"{group}: event {number} ran first as attempt {runs[0].attempt}: for whose failure?"


def _tried_again_too_early(case: _Case) -> Iterator[str]:
    least = int(case.terms.backoff_s * 1e9) - _TOLERANCE_NS
    for (group, number), runs in case.runs.items():
        for earlier, later in pairwise(runs):
            waited = later.started_at - earlier.ended_at
            if earlier.end != "failed" or waited >= least or waited < 0:
                continue
            if case.excuse(earlier.ended_at, later.started_at, "resets") is None:
                yield f"{group}: event {number} was tried again after {waited / 1e6:.0f} ms"


def _tried_too_often(case: _Case) -> Iterator[str]:
    most = case.terms.max_attempts
    for (group, number), runs in case.runs.items():
        if max(run.attempt for run in runs) > most:
            yield f"{group}: event {number} ran as attempt {max(run.attempt for run in runs)} of {most}"
        failed = [run for run in runs if run.end == "failed"]
        if len(failed) > most and not case.excuse(
            failed[0].started_at, failed[-1].started_at, "repeats", "resets", "refuses"
        ):
            yield f"{group}: event {number} failed {len(failed)} times, where {most} attempts were agreed on"


def _dead_without_a_cause(case: _Case) -> Iterator[str]:
    for (group, number), letters in case.dead.items():
        if not case.terms.is_hopeless(group, number):
            yield f"{group}: event {number}, which would have succeeded, is a dead letter: {letters[0].reason}"
        runs = case.runs.get((group, number), [])
        failed = {run.attempt for run in runs if run.end == "failed"}
        since = case.publish_of[number].invoked_at if number in case.publish_of else 0
        until = runs[-1].started_at if runs else since
        if len(failed) < case.terms.max_attempts and case.excuse(since, until, "repeats") is None:
            yield f"{group}: event {number} is a dead letter after {len(failed)} failed attempt(s)"
        if len(letters) > 1 and case.excuse(since, until, "resets") is None:
            yield f"{group}: event {number} has {len(letters)} dead letters"


def _effect_twice(case: _Case) -> Iterator[str]:
    for group, counts in case.found.effects.items():
        case.report.effects += sum(counts.values())
        for number, count in counts.items():
            if count == 1:
                continue
            if case.excuse(0, _EVER, "resets") is None:
                yield f"{group}: the effect of event {number} was applied {count} times"
            case.report.effects_again += count - 1


def _effect_missing(case: _Case) -> Iterator[str]:
    for group in case.terms.groups:
        counts, unfinished = case.found.effects.get(group, {}), case.found.unfinished.get(group, set())
        for entry_id, number in case.found.entries:
            if not case.terms.has_effect(number) or number in counts or entry_id in unfinished:
                continue
            if (group, number) not in case.dead:
                yield f"{group}: event {number} ({entry_id}) is acknowledged, its effect was never applied"


def _effect_without_a_run(case: _Case) -> Iterator[str]:
    for group, counts in case.found.effects.items():
        for number in counts:
            runs = case.runs.get((group, number), ())
            if not case.terms.has_effect(number) or not any(run.end == "done" for run in runs):
                yield f"{group}: the effect of event {number} was applied, no handler finished it"


def _out_of_order(case: _Case) -> Iterator[str]:
    for group in case.terms.ordered:
        reached: dict[int, tuple[int, int]] = {}
        firsts = sorted(
            (runs[0] for (name, _), runs in case.runs.items() if name == group),
            key=lambda run: run.started_at,
        )
        for run in firsts:
            aggregate, position = run.number % case.terms.aggregates, parse_id(run.entry_id)
            if position < reached.get(aggregate, (0, 0)):
                yield f"{group}: event {run.number} ({run.entry_id}) was handled after a later one of its aggregate"
            reached[aggregate] = position


def _idle(case: _Case) -> Iterator[str]:
    if not case.report.confirmed:
        yield "nothing was confirmed: the run shows nothing"
    started = Counter(run.group for run in case.history.runs)
    yield from (
        f"{group} handled nothing: the run shows nothing" for group in case.terms.groups if not started[group]
    )


_RULES: dict[str, Callable[[_Case], Iterator[str]]] = {
    "lost": _lost,
    "acknowledged without having run": _acknowledged_without_having_run,
    "unfinished": _unfinished,
    "phantom": _phantom,
    "stored twice": _stored_twice,
    "refused but present": _refused_but_present,
    "torn": _torn,
    "misplaced": _misplaced,
    "ids that fall": _ids_that_fall,
    "repeated without a cause": _repeated_without_a_cause,
    "tried again too early": _tried_again_too_early,
    "tried too often": _tried_too_often,
    "dead without a cause": _dead_without_a_cause,
    "effect twice": _effect_twice,
    "effect missing": _effect_missing,
    "effect without a run": _effect_without_a_run,
    "out of order": _out_of_order,
    "idle": _idle,
}
