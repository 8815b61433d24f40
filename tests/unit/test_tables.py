"""The tables of the command line: whatever the width, an id or a name can be read and copied whole."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from busredis.cli.table import print_table

LETTERS = ["group", "id", "type", "error", "attempts"]
LETTER = [
    "governance-audit-trail",
    "1764085101000-12",
    "PermissionGrantedEvent",
    "ValueError: it is negative",
    2000,
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(columns, rows, *, width=80, to=Terminal) -> list[str]:
    file = to()
    print_table(Console(file=file, width=width, color_system=None), "title", columns, rows)
    return file.getvalue().splitlines()


def test_what_has_no_room_in_its_row_stands_below_it_with_its_name():
    lines = printed(LETTERS, [LETTER, ["till", "1-1", "Paid", "-", 1]])

    assert lines[1].split() == LETTERS[:3]
    assert lines[3].split() == LETTER[:3]
    assert lines[4].strip() == "error: ValueError: it is negative  attempts: 2,000"
    assert lines[6].strip() == "attempts: 1"
    assert max(map(len, lines)) <= 80


def test_a_text_that_is_longer_than_a_line_is_broken_between_its_words():
    lines = printed(["id", "error"], [["a" * 70, "word " * 30]])

    assert [line.split() for line in lines[3:]] == [
        ["a" * 70],
        ["error:", *["word"] * 14],
        ["word"] * 15,
        ["word"],
    ]
    assert all(line.startswith("    ") for line in lines[4:])


def test_what_all_rows_say_below_is_said_once():
    lines = printed(["id", "error", "retention"], [["a" * 60, f"e{n} " * 9, "keep"] for n in range(3)])

    assert [line.strip() for line in lines if "keep" in line] == ["each: retention: keep"]
    assert [line.strip()[:9] for line in lines if "error" in line] == [f"error: e{n}" for n in range(3)]


def test_names_of_columns_take_two_lines_before_a_column_has_no_room():
    lines = printed(["name", "oldest pending", "bytes/entry"], [["n" * 60, "1.0 s", 5]])

    assert [line.split() for line in lines[1:3]] == [["oldest", "bytes/"], ["name", "pending", "entry"]]
    assert lines[4].split() == ["n" * 60, "1.0", "s", "5"]


def test_a_table_that_has_room_is_a_line_a_row_and_its_numbers_are_on_the_right():
    assert printed(["name", "count"], [["a", 5], ["bc", 1234]])[1:] == [
        "name  count",
        "───────────",
        "a         5",
        "bc    1,234",
    ]


def test_in_a_pipe_each_row_is_one_line_however_long():
    row = ["x" * 300, "a text of several words " * 20, "a\nb\tc"]

    lines = printed(["a", "b", "c"], [row, row], to=io.StringIO)

    assert len(lines) == 1 + 2 + 2
    assert lines[3].startswith("x" * 300 + "  a text of")
    assert lines[3].endswith("a b c")


def test_markup_and_control_characters_of_a_cell_are_text():
    [*_, line] = printed(["a"], [["[bold]x[/] \x1b[31m"]])

    assert line == r"[bold]x[/] \x1b[31m"


def test_a_table_of_nothing_has_its_columns():
    assert printed(["a", "b"], [])[1] == "a  b"


WORDS = st.text("abc-0123456789", min_size=1, max_size=60)
CELLS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)


@given(st.lists(st.tuples(WORDS, CELLS, WORDS), min_size=1, max_size=5), st.integers(20, 120))
def test_no_word_is_broken_or_lost_at_any_width(rows, width):
    text = printed(["id", "error", "last"], [list(row) for row in rows], width=width)

    words = " ".join(text).split()
    for row in rows:
        for word in " ".join(row).split():
            if word != "-":
                assert word in words


@pytest.mark.parametrize("width", [20, 80])
def test_an_id_that_is_longer_than_the_terminal_is_wide_is_left_to_the_terminal_to_break(width):
    assert "i" * 200 in printed(["name", "id"], [["a", "i" * 200]], width=width)[-1]
