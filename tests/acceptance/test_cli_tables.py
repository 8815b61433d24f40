"""Every list of the command line on a terminal of 80 columns and in a pipe: what is in it can be copied."""

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.acceptance.conftest import ROOT

SHOP = "tests.acceptance.shop"


@pytest.fixture
def on_terminal(busredis):
    """What a command prints on a terminal of 80 columns, without colours."""

    def call(*arguments: str) -> str:
        ours, theirs = pty.openpty()
        environment = {**busredis.environment, "COLUMNS": "80", "TERM": "xterm"}
        command = [sys.executable, "-m", "busredis", *arguments]
        process = subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment)
        os.close(theirs)
        read = b""
        with suppress(OSError):  # how Linux says that nobody writes to it any more
            while piece := os.read(ours, 65_536):
                read += piece
        os.close(ours)
        assert process.wait(timeout=60) == 0, read
        return re.sub(r"\x1b\[[0-9;]*m", "", read.decode())

    return call


@pytest.fixture
def filled(busredis, inspect):
    """A letter, an entry, a group and a scheduled event; their ids."""
    line = json.dumps({"event_type": "ShopSold", "payload": {"item": "tea " * 20, "cents": -1}})
    busredis("publish", "--jsonl", "-", "--import", SHOP, given=line.encode())
    busredis("run", SHOP, "--burst")
    busredis("retention", "set", "ShopSold", "--max-age", "30d")
    scheduled = busredis("schedule", "add", "ShopSold", '{"item": "tea"}', "--in", "2h", "--import", SHOP)
    [letter] = json.loads(busredis("dead", "ls", "--json").stdout)
    return letter, scheduled.stdout.strip()


def test_ids_and_names_are_whole_on_a_terminal_of_80_columns(filled, on_terminal, busredis):
    letter, scheduled = filled

    listed = on_terminal("dead", "ls")
    [row] = [line.split() for line in listed.splitlines() if line.startswith("till")]
    assert row[:3] == ["till", letter["id"], "ShopSold"]
    assert "ValueError: negative" in listed
    assert "ValueError: negative" in on_terminal("dead", "show", *row[:2])
    status = on_terminal("status")
    assert letter["entry_id"] in status.split()
    assert "max-age" in status
    assert scheduled in on_terminal("schedule", "ls").split()
    assert "till" in on_terminal("groups", "ls").split()
    assert "ShopSold" in on_terminal("retention", "ls").split()
    for command in (["dead", "ls"], ["status"], ["schedule", "ls"], ["groups", "ls"], ["partitions"]):
        assert max(len(line.rstrip()) for line in on_terminal(*command).splitlines()) <= 80, command


def test_in_a_pipe_a_row_is_a_line_whatever_the_width_of_the_terminal(filled, busredis, monkeypatch):
    letter, scheduled = filled
    monkeypatch.setitem(busredis.environment, "COLUMNS", "40")

    [row] = [line for line in busredis("dead", "ls").stdout.splitlines() if line.startswith("till")]
    assert row.split()[:3] == ["till", letter["id"], "ShopSold"]
    assert "ValueError: negative" in row
    [row] = [line for line in busredis("schedule", "ls").stdout.splitlines() if line.startswith(scheduled)]
    assert "ShopSold" in row
    assert "{'item': 'tea', 'cents': 0}" in row
    [row] = [line for line in busredis("status").stdout.splitlines() if line.startswith("ShopSold")]
    assert letter["entry_id"] in row
    discarded = busredis("dead", "discard", "till", "all", "--yes").stdout
    assert discarded == f"discarded {letter['id']}\n"
