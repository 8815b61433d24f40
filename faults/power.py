"""Loss of power, emulated: SIGKILL leaves what the server wrote in the page cache; here all that was not synced goes.

The server runs under strace, whose lines tell how long the append-only file was when a sync of it began that came to its
end. After SIGKILL the file is cut to that length: what a disk that kept nothing else would hold.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable

from faults.history import NOTHING
from faults.stage import Stage
from tests.waiting import wait_until

_LINE = re.compile(r"^(?P<task>\d+) +(?P<call>\w+)\(\d+<(?P<path>[^>]*\.incr\.aof)>(?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<task>\d+) +<\.\.\. (?P<call>\w+) resumed>.*= (?P<result>-?\d+)$")
_RESULT = re.compile(r"= (?P<result>-?\d+)")
_SYNCS = ("fsync", "fdatasync")
#: What everysec may lose: a sync each second, which may be put off by up to two while one is slow.
_WINDOW_NS = 3_000_000_000


class StraceMissing(Exception):
    """Power loss cannot be emulated without strace. It is an error, never a skip."""

    def __init__(self) -> None:
        super().__init__("the power loss scenarios need strace: apt install strace")


def strace_version() -> str:
    """Which strace is here. Raises StraceMissing."""
    if shutil.which("strace") is None:
        raise StraceMissing
    told = subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout
    return " ".join(told.split("\n")[0].split()[i] for i in (0, 3))


def synced_length(lines: Iterable[str], length: int) -> int:
    """How much of an append-only file was surely synced, if it had `length`, all of it synced, when the trace began."""
    synced = length
    open_calls: dict[str, tuple[str, int]] = {}  # by task: what it is in, and the length when that began
    for line in lines:
        if begun := _LINE.match(line):
            call, rest = begun["call"], begun["rest"]
            result = None if "<unfinished" in rest else _RESULT.search(rest)
            if result is None:
                size = int(rest.rpartition(",")[2].partition("<")[0]) if call == "ftruncate" else length
                open_calls[begun["task"]] = call, size
                continue
            size = int(rest.partition(",")[2].partition(")")[0]) if call == "ftruncate" else length
        elif (result := _RESUMED.match(line)) and result["task"] in open_calls:
            call, size = open_calls.pop(result["task"])
        else:
            continue
        value = int(result["result"])
        if value < 0:
            continue
        if call in _SYNCS:
            synced = max(synced, size)
        elif call == "ftruncate":
            length, synced = size, min(synced, size)
        else:
            length += value
    return synced


def lose_power(stage: Stage) -> None:
    """Power loss: SIGKILL of the server, and what was not synced to disk is cut off"""
    pid, safe = stage.server.pid, _promises_disk(stage)
    since = NOTHING if safe else time.monotonic_ns() - _WINDOW_NS
    with stage.fault("lose power", "repeats", "resets", "rewinds", erases_since=since):
        stage.server.kill()
    folder = stage.folder / "server-1"
    trace = folder / f"trace.{pid}"
    wait_until(
        lambda: re.search(rf"^{pid} +\+\+\+ killed", trace.read_text(), re.MULTILINE),
        "strace has seen the end of the server",
    )
    [file] = (folder / "appendonlydir").glob("*.incr.aof")
    written = file.stat().st_size
    stage.synced_bytes = synced_length(trace.read_text().splitlines(), stage.synced_bytes)
    assert stage.synced_bytes <= written, "the trace tells of more than was written"
    os.truncate(file, stage.synced_bytes)
    stage.cut_bytes += written - stage.synced_bytes
    stage.server.restart()


def _promises_disk(stage: Stage) -> bool:
    """Whether a confirmation of this run means: on disk."""
    return stage.setting.durability == "fsync" or stage.setting.server.get("appendfsync") == "always"
