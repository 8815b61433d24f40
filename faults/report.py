"""What a run is judged by, and what it is found to be."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dead:
    """One dead letter."""

    group: str
    number: int
    entry_id: str
    reason: str


@dataclass
class Found:
    """What the server holds after the run: entries as `(id, number)` in stream order, `unfinished` ids by group.

    `effects`: by group and event number, how often its effect was applied.
    """

    entries: list[tuple[str, int]]
    dead: list[Dead] = field(default_factory=list)
    unfinished: dict[str, set[str]] = field(default_factory=dict)
    effects: dict[str, dict[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """What was agreed on for the run: its groups, their attempts, and which events fail for ever."""

    groups: tuple[str, ...]
    max_attempts: int
    backoff_s: float
    is_hopeless: Callable[[str, int], bool]
    has_effect: Callable[[int], bool]
    #: Groups whose events must be handled in order; with this many aggregates.
    ordered: tuple[str, ...] = ()
    aggregates: int = 1


@dataclass(frozen=True, slots=True)
class Breach:
    """One promise that was not kept."""

    rule: str
    what: str


@dataclass
class Report:
    """The counts of a run, and the breaches in it."""

    confirmed: int = 0
    refused: int = 0
    unknown: int = 0
    handled: int = 0
    again: int = 0
    dead: int = 0
    #: Effects that were applied, and those that were applied again since their group forgot what it had done.
    effects: int = 0
    effects_again: int = 0
    #: Runs that ended after another process had begun to run the entry: what a zombie does.
    late: int = 0
    #: Confirmed events that are gone, and should not be.
    lost: int = 0
    #: Confirmed events that are gone by the nature of a fault, and how long before its end the first was confirmed.
    erased: int = 0
    erased_window_s: float = 0.0
    breaches: list[Breach] = field(default_factory=list)
