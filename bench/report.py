"""docs/performance.md and docs/performance.svg from what a run has found, ratios first."""

import json
import os
import platform
from html import escape
from importlib.metadata import version
from pathlib import Path

from bench.measure import FOUND, Row, found

_DOCS = Path(__file__).parents[1] / "docs"
_NOTES = Path(__file__).with_name("notes.md")
_PACKAGES = ("redis", "hiredis", "orjson", "pydantic", "uvloop")
_WIDTH, _LINE, _LEFT = 980, 20, 430


def write(server: str) -> None:
    load = os.getloadavg()[1]
    machine = (
        f"{server}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
        + f"; {platform.machine()}, {os.cpu_count()} cores shared by clients and server, load average {load:.1f} at the end"
    )
    cases = list(dict.fromkeys(row.case for row in FOUND))
    parts = ["# Performance\n", "Written by `make bench ARGS=--write`.\n", f"Measured on: {machine}.\n"]
    parts.append(
        "Medians of at least five interleaved rounds. Read ratios: the machine drifts, and what runs in two processes at once "
        "(a daemon and its server) loses more on a busy machine than a loop that waits for the server.\n"
    )
    parts.append("![ratios](performance.svg)\n")
    parts.append("## Ratios\n")
    parts += [_ratios(case) for case in cases if any(row.ratio for row in FOUND if row.case == case)]
    parts.append("## Figures\n")
    parts += [_figures(case) for case in cases if not any(row.ratio for row in FOUND if row.case == case)]
    if _NOTES.exists():
        parts.append(_NOTES.read_text())
    (_DOCS / "performance.md").write_text("\n".join(parts))
    (_DOCS / "performance.svg").write_text(_svg([row for row in FOUND if row.ratio is not None]))
    (_DOCS / "performance.json").write_text(
        json.dumps({"machine": machine, "rows": found()}, indent=1) + "\n"
    )


def _ratios(case: str) -> str:
    lines = [f"### {case}\n", "| ratio | events/s | |", "|---:|---:|---|"]
    lines += [f"| {row.ratio:.2f}x | {row.value:,.0f} | {row.name} |" for row in FOUND if row.case == case]
    return "\n".join(lines) + "\n"


def _figures(case: str) -> str:
    rows = [row for row in FOUND if row.case == case]
    if not rows:
        return f"**{case}**\n"
    lines = [f"### {case}\n", "| | | |", "|---:|---|---|"]
    lines += [f"| {row.value:,.2f} | {row.unit} | {row.name} |" for row in rows]
    return "\n".join(lines) + "\n"


def _svg(rows: list[Row]) -> str:
    """Bars as long as the ratio, on a scale that shows halves and doubles alike up to four times."""
    shown, y = [], 10
    case = ""
    for row in rows:
        if row.case != case:
            case = row.case
            y += _LINE
            shown.append(f'<text x="8" y="{y}" font-weight="bold">{escape(case)}</text>')
            y += _LINE
        assert row.ratio is not None
        length = min(row.ratio, 4.0) / 4.0 * (_WIDTH - _LEFT - 70)
        colour = "#999" if row.name == row.base else "#2a7"
        shown.append(f'<text x="20" y="{y}">{escape(row.name[:62])}</text>')
        shown.append(f'<rect x="{_LEFT}" y="{y - 12}" width="{length:.0f}" height="14" fill="{colour}"/>')
        shown.append(f'<text x="{_LEFT + length + 6:.0f}" y="{y}">{row.ratio:.2f}x</text>')
        y += _LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(shown)
        + "\n</svg>\n"
    )
