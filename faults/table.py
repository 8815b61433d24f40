"""The results as lines and as docs/reliability.md, which no hand writes."""

import platform
from pathlib import Path

from faults.run import Result

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"


def line(result: Result) -> str:
    """One result for the terminal."""
    report = result.report
    verdict = "held " if result.held else "BROKE"
    return (
        f"{verdict} {result.name:22} {result.took_s:5.1f} s  {result.injected:3} faults  {report.confirmed:7,} confirmed"
        f"  {report.refused:5,} refused  {report.unknown:6,} unknown  {report.erased:6,} erased"
        f"  {report.again:5,} again  {report.dead:3} dead  {result.fenced:4} fenced"
    )


def page(results: list[Result]) -> str:
    """docs/reliability.md."""
    return "\n".join(_row(result) for result in results)


def _row(result: Result) -> str:
    return line(result)
