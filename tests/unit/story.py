"""A small run of the fault suite, of which a test tells one thing wrong."""

from dataclasses import dataclass, field

from faults.checker import check
from faults.events import has_effect, is_hopeless
from faults.history import NOTHING, Fault, History, Publish, Run
from faults.report import Found, Report, Terms

SECOND = 1_000_000_000
GROUPS = ("steady", "failing")
#: Fails for ever in the group "failing".
HOPELESS = 13


@dataclass
class Story:
    """A run to be told wrong: six events of two appends, handled by two groups, one of them after a failure."""

    publishes: list[Publish] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    found: Found = field(default_factory=lambda: Found([]))
    ordered: tuple[str, ...] = GROUPS

    def judge(self) -> Report:
        terms = Terms(GROUPS, 3, 0.3, is_hopeless, has_effect, self.ordered, 2)
        return check(History(self.publishes, self.runs, self.faults), self.found, terms)

    def rules(self) -> set[str]:
        return {breach.rule for breach in self.judge().breaches}

    def run_of(self, group: str, number: int) -> Run:
        return next(run for run in self.runs if (run.group, run.number) == (group, number))

    def add_run(self, group: str, number: int, attempt: int, at: float, end: str = "done") -> Run:
        entry_id = next((i for i, n in self.found.entries if n == number), "9-9")
        started = int(at * SECOND)
        run = Run(group, number, entry_id, attempt, 1, started, started + 1_000 if end else 0, end)
        self.runs.append(run)
        return run

    def add_fault(
        self, *leads_to: str, began: float = 15, ended: float = 15.5, erases_since: float = -1
    ) -> None:
        since = NOTHING if erases_since < 0 else int(erases_since * SECOND)
        self.faults.append(Fault("x", int(began * SECOND), int(ended * SECOND), frozenset(leads_to), since))
