"""docs/bad-input.md, made of the tables that the tests use."""

from collections.abc import Sequence
from pathlib import Path

from tests.bad_input import entries, events, settings
from tests.bad_input.model import Accepted, Call, Case, Entry

FILE = Path(__file__).parents[2] / "docs" / "bad-input.md"
_TOP = """# Bad input

What was tried on busredis that cannot work, and what it answered. This page is written by `python -m tests.bad_input`
from the tables of `tests/bad_input/`, and the suite tries every row: a row that is not true is a test that fails.

Errors say what was wrong, where, and what to do; none shows a value that may be a secret. What is wrong at the
publisher is an exception before anything is sent. What is wrong in a stream is a dead letter with a reason and the
entry's fields as they are. A command ends with 2 for wrong usage, with 1 for anything else that is wrong, and without
a traceback.
"""
CASES = {
    "URL of a server": settings.URLS,
    "Settings (`BUSREDIS_*` or in code)": settings.SETTINGS,
    "Options of a handler": settings.HANDLERS,
    "Name of a group": settings.GROUPS,
    "Defining an event": events.CLASSES,
    "Making an event": events.MADE,
    "Publishing": events.PUBLISHED,
    "Old versions": events.UPCAST,
}


def written() -> str:
    """The page."""
    parts = [_TOP]
    for title, cases in CASES.items():
        parts.append(_table(title, ("tried", "error", "in its message"), map(_case, cases)))
    parts.append(
        _table("Entries of other programs", ("entry", "reason", "in its error"), map(_entry, entries.ENTRIES))
    )
    parts.append(_table("Commands", ("tried", "exit code", "on standard error"), map(_call, entries.CALLS)))
    parts.append(_table("Not refused", ("tried", "gives", "why"), map(_accepted, events.ACCEPTED)))
    return "\n".join(parts)


def _table(title: str, columns: Sequence[str], rows: "map[Sequence[str]]") -> str:
    lines = [f"## {title}", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    text = text.replace("|", "\\|")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _case(case: Case) -> Sequence[str]:
    return case.tried, f"`{case.error.__name__}`", case.says


def _entry(entry: Entry) -> Sequence[str]:
    return entry.tried, f"`{entry.reason}`", entry.says


def _call(call: Call) -> Sequence[str]:
    return call.tried, str(call.code), call.says


def _accepted(accepted: Accepted) -> Sequence[str]:
    return accepted.tried, f"`{accepted.result!r}`", accepted.policy
