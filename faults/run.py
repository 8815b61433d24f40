"""One scenario from start to end, judged."""

import random
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from busredis.server.probe import ask
from faults.checker import check
from faults.drain import finish
from faults.events import AGGREGATES, BACKOFF_S, GROUPS, MAX_ATTEMPTS, STEADY, has_effect, is_hopeless
from faults.history import read_history
from faults.report import Breach, Report, Terms
from faults.scenarios import Scenario
from faults.stage import Stage


@dataclass
class Result:
    """What became of a scenario. `order` has the faults in the order in which they were injected."""

    name: str
    what: str
    seed: int
    report: Report = field(default_factory=Report)
    server: str = ""
    injected: int = 0
    order: list[str] = field(default_factory=list)
    cut_bytes: int = 0
    took_s: float = 0.0

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        return not self.report.breaches


def run(scenario: Scenario, seed: int, *, events: int | None = None, folder: Path | None = None) -> Result:
    """Runs a scenario; `events` instead of its own number, `folder` to keep what was recorded."""
    began = time.monotonic()
    # A seed of its own for each scenario, so that one alone can be replayed.
    result = Result(scenario.name, scenario.what, seed)
    setting = scenario.setting if events is None else replace(scenario.setting, events=events)
    with tempfile.TemporaryDirectory(prefix="faults-") as own:
        place = folder or Path(own)
        place.mkdir(parents=True, exist_ok=True)
        try:
            _play(replace(scenario, setting=setting), place, result)
        except Exception:  # noqa: BLE001 - whatever went wrong, the other scenarios go on and the run fails
            result.report.breaches.append(Breach("broken", traceback.format_exc(limit=-4)))
    result.took_s = time.monotonic() - began
    return result


def _play(scenario: Scenario, folder: Path, result: Result) -> None:
    chance = random.Random(f"{scenario.name} {result.seed}")
    with Stage(scenario.setting, folder, chance.randrange(2**32)) as stage:
        answer = ask(stage.server.port)
        result.server = answer.version if answer else "?"
        for injection in scenario.plan(chance):
            stage.let_run(chance.uniform(0.5, 1.0) * scenario.gap_s)
            result.order.append(injection.__name__)
            injection(stage)
        found = finish(stage)
        codes, notes = stage.codes, stage.notes
        result.injected, result.cut_bytes = stage.injected, stage.cut_bytes
    ordered = (STEADY,) if scenario.setting.ordered else ()
    terms = Terms(GROUPS, MAX_ATTEMPTS, BACKOFF_S, is_hopeless, has_effect, ordered, AGGREGATES)
    result.report = check(read_history(folder), found, terms)
    result.report.breaches += [
        Breach("exit code", f"a process ended with {code}") for code in codes if code != 0
    ]
    result.report.breaches += [Breach("unfinished", note) for note in notes]
    if scenario.fences and not result.report.late:
        result.report.breaches.append(
            Breach("idle", "no zombie came back with an entry: the run shows nothing")
        )
    if scenario.times and not result.injected:
        result.report.breaches.append(Breach("idle", "no fault was injected: the run shows nothing"))
