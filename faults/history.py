"""What happened in a run: lines that its processes append while they work, read back as one History.

Times are of the machine's monotonic clock, which all processes share, in ns. A last line that a kill tore is ignored.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: What a fault may lead to: `repeats`, a handler runs again what it ran; `resets`, attempts and the pauses between them
#: are forgotten; `refuses`, no dead letter can be written, so its handler runs once more later; `rewinds`, the server goes
#: back to an earlier state, in which an entry that was handled and not yet confirmed may be gone.
LeadsTo = Literal["repeats", "resets", "refuses", "rewinds"]
#: `Fault.erases_since` of a fault that erases nothing that was confirmed.
NOTHING = -1


class Recorder:
    """Appends lines to one file. What was written stays, whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, *facts: object) -> None:
        line = " ".join((kind, str(time.monotonic_ns()), *map(str, facts)))
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._file)


@dataclass(slots=True)
class Publish:
    """One append of the events `first` to `first + count - 1`: "ok", "fail" (refused) or "unknown"."""

    publisher: str
    first: int
    count: int
    invoked_at: int
    outcome: str = "unknown"
    answered_at: int = 0
    ids: Sequence[str] = ()

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(slots=True)
class Run:
    """One run of a handler: "done", "failed", or "" if nobody saw its end."""

    group: str
    number: int
    entry_id: str
    attempt: int
    pid: int
    started_at: int
    ended_at: int = 0
    end: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault, and what it may lead to.

    What was confirmed between `erases_since` and the end of the fault may be gone.
    """

    name: str
    began: int
    ended: int
    leads_to: frozenset[str] = frozenset()
    erases_since: int = NOTHING


@dataclass
class History:
    """All that the processes of a run have told."""

    publishes: list[Publish] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_history(folder: Path) -> History:
    """The history of the run that was recorded in `folder`."""
    history = History()
    for path in sorted(folder.glob("publisher-*.log")):
        history.publishes += _publishes(path)
    for path in sorted(folder.glob("worker-*.log")):
        history.runs += _runs(path)
    for _, *facts in _lines(folder / "faults.log"):
        ended, name, began, marks, since = facts
        leads_to = frozenset(marks.split(",")) - {"nothing"}
        history.faults.append(Fault(name, int(began), int(ended), leads_to, int(since)))
    return history


def _publishes(path: Path) -> Iterator[Publish]:
    name, current = path.stem.removeprefix("publisher-"), None
    for kind, at, *facts in _lines(path):
        if kind == "invoke":
            if current is not None:
                yield current
            current = Publish(name, int(facts[0]), int(facts[1]), int(at))
        elif current is not None:
            current.outcome, current.answered_at, current.ids = kind, int(at), facts if kind == "ok" else ()
    if current is not None:
        yield current


def _runs(path: Path) -> Iterator[Run]:
    pid = int(path.stem.split("-")[1])
    opened: dict[tuple[str, ...], list[Run]] = {}
    for kind, at, *facts in _lines(path):
        key = tuple(facts)
        if kind == "start":
            group, number, entry_id, attempt = facts
            run = Run(group, int(number), entry_id, int(attempt), pid, int(at))
            opened.setdefault(key, []).append(run)
            yield run
        else:
            run = opened[key].pop()
            run.end, run.ended_at = kind, int(at)


def _lines(path: Path) -> Iterator[list[str]]:
    # What follows the last newline is empty, or was torn by a kill.
    for line in path.read_text().split("\n")[:-1] if path.exists() else ():
        yield line.split(" ")
