"""Tables from which everything can be read and copied: no id or name is broken over lines, cut off or left out.

On a terminal, columns that its width has no room for stand below their row, with their names. Anywhere else (a pipe, a
file) each row is one line, however long.
"""

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
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    is_number = [
        bool(rows) and all(isinstance(row[n], int | float) for row in rows) for n in range(len(columns))
    ]
    console.print(Text(title, style="italic"), soft_wrap=True)
    if console.file.isatty() and sum(widths) + _GAP * (len(columns) - 1) > console.width:
        _print_narrow(console, (columns, cells), widths, is_number)
    else:
        _print_lines(console, _table(columns, cells, widths, is_number))


def _print_narrow(
    console: Console, table: tuple[Sequence[str], list[list[str]]], widths: list[int], is_number: list[bool]
) -> None:
    """The columns that fit, as a table; below each row what else it has to say."""
    columns, cells = table
    count = _fitting(widths, console.width)
    lines = _lines(console, _table(columns[:count], [row[:count] for row in cells], widths, is_number))
    head, body = lines[: len(lines) - len(cells)], lines[len(lines) - len(cells) :]
    for line in head:
        console.print(line, soft_wrap=True)
    for line, row in zip(body, cells, strict=True):
        console.print(line, soft_wrap=True)
        told = zip(columns[count:], row[count:], strict=True)
        for below in _below([f"{name}: {cell}" for name, cell in told if cell not in _NOTHING], console):
            console.print(" " * _INDENT + below, style="dim", markup=False, highlight=False, soft_wrap=True)


def _below(facts: list[str], console: Console) -> list[str]:
    """Lines of facts, none broken but between its words if it alone is too long; a word never is."""
    width, packed = console.width - _INDENT, [""]
    for fact in facts:
        longer = f"{packed[-1]}  {fact}" if packed[-1] else fact
        if packed[-1] and cell_len(longer) > width:
            packed.append(fact)
        else:
            packed[-1] = longer
    whole = [Text(line).wrap(console, width, overflow="ignore") for line in packed if line]
    return [line.plain.rstrip() for lines in whole for line in lines]


def _fitting(widths: list[int], width: int) -> int:
    """How many columns fit, at least the first."""
    count, taken = 1, widths[0]
    while count < len(widths) and taken + _GAP + widths[count] <= width:
        taken += _GAP + widths[count]
        count += 1
    return count


def _table(columns: Sequence[str], cells: list[list[str]], widths: list[int], is_number: list[bool]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, width, right in zip(columns, widths, is_number, strict=False):
        table.add_column(Text(name), justify="right" if right else "left", no_wrap=True, min_width=width)
    for row in cells:
        # Text, since what stands in brackets in a string would be taken for markup.
        table.add_row(*map(Text, row))
    return table


def _print_lines(console: Console, table: Table) -> None:
    for line in _lines(console, table):
        console.print(line, soft_wrap=True)


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
