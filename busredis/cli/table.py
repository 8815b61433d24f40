"""Tables from which everything can be read and copied: no id or name is broken over lines, cut off or left out.

On a terminal, columns that its width has no room for stand below their row, with their names. Anywhere else (a pipe, a
file) each row is one line, however long.
"""

import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from busredis.cli.terminal import printable

Row = Sequence[object]
#: Between two columns: a space of padding and the place of a border.
_GAP = 2
#: What stands below a row is set in by so much.
_INDENT = 4
_NOTHING = ("", "-")


def print_table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Prints `rows`; columns of numbers are aligned to the right."""
    cells = [[_shown(cell) for cell in row] for row in rows]
    is_number = [
        bool(rows) and all(isinstance(row[n], int | float) for row in rows) for n in range(len(columns))
    ]
    console.print(Text(title, style="italic"), soft_wrap=True)
    is_narrow = console.file.isatty() and _width(_widths(columns, cells)) > console.width
    if is_narrow:
        columns = [_in_lines(name) for name in columns]
    if is_narrow and _width(_widths(columns, cells)) > console.width:
        _print_narrow(console, (columns, cells), is_number)
    else:
        for line in _lines(console, _table(columns, cells, is_number)):
            console.print(line, soft_wrap=True)


def _in_lines(name: str) -> str:
    return name.replace(" ", "\n").replace("/", "/\n")


def _widths(columns: Sequence[str], cells: list[list[str]]) -> list[int]:
    heads = [max(map(cell_len, name.split("\n"))) for name in columns]
    return [max([head, *(cell_len(row[number]) for row in cells)]) for number, head in enumerate(heads)]


def _width(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _print_narrow(
    console: Console, table: tuple[Sequence[str], list[list[str]]], is_number: list[bool]
) -> None:
    """The columns that fit, as a table; below each row what else it has to say, and once what all rows say."""
    columns, cells = table
    widths = _widths(columns, cells)
    count = max(1, sum(_width(widths[:end]) <= console.width for end in range(1, len(widths) + 1)))
    rest = [(number, name.replace("/\n", "/").replace("\n", " ")) for number, name in enumerate(columns)][
        count:
    ]
    shared = [(n, name) for n, name in rest if len(cells) > 1 and len({row[n] for row in cells}) == 1]
    if shared:
        _print_below(console, cells[0], shared, "each: ")
    lines = _lines(console, _table(columns[:count], [row[:count] for row in cells], is_number))
    for line in lines[: len(lines) - len(cells)]:
        console.print(line, soft_wrap=True)
    for line, row in zip(lines[len(lines) - len(cells) :], cells, strict=True):
        console.print(line, soft_wrap=True)
        _print_below(console, row, [one for one in rest if one not in shared])


def _print_below(console: Console, row: list[str], rest: list[tuple[int, str]], first: str = "") -> None:
    facts = [f"{name}: {row[number]}" for number, name in rest if row[number] not in _NOTHING]
    if facts:
        facts[0] = first + facts[0]
    for line in _below(facts, console):
        console.print(" " * _INDENT + line, style="dim", markup=False, highlight=False, soft_wrap=True)


def _below(facts: list[str], console: Console) -> list[str]:
    """Lines of facts, none broken but between its words if it alone is too long; a word never is."""
    width, packed = console.width - _INDENT, [""]
    for fact in facts:
        longer = f"{packed[-1]}  {fact}" if packed[-1] else fact
        if packed[-1] and cell_len(longer) > width:
            packed.append(fact)
        else:
            packed[-1] = longer
    return [
        line
        for one in packed
        for line in textwrap.wrap(one, width, break_long_words=False, break_on_hyphens=False)
    ]


def _table(columns: Sequence[str], cells: list[list[str]], is_number: list[bool]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, right in zip(columns, is_number, strict=False):
        table.add_column(Text(name), justify="right" if right else "left", vertical="bottom", no_wrap=True)
    for row in cells:
        # Text, since what stands in brackets in a string would be taken for markup.
        table.add_row(*map(Text, row))
    return table


def _lines(console: Console, table: Table) -> list[Text]:
    """The lines of a table in its full width, without the blanks at their ends."""
    endless = console.options.update(width=1_000_000, max_width=1_000_000)
    found = []
    for segments in console.render_lines(table, endless, pad=False):
        line = Text("", end="\n")
        for segment in segments:
            line.append(segment.text, segment.style)
        line.rstrip()
        found.append(line)
    return found


def _shown(cell: object) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    # A row is one line, whatever lines and columns a text has of its own.
    return printable(str(cell).replace("\n", " ").replace("\t", " "))
