"""python -m bench.guard: has a path got dearer? Ratios to raw redis-py in this run, and instructions where valgrind is.

One line a commit is written to bench/history.jsonl and compared with the line before it; what got more than 10% dearer is
said, with the figures. It never fails: ratios drift with the machine, instructions hardly do.
"""

import datetime as dt
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import measure
from busredis.server import EmbeddedServer

_HISTORY = Path(__file__).with_name("history.jsonl")
_DEARER = 1.10
_CALLS = 2_000
#: What is counted: the parts of the hot paths that need no server.
_PATHS = {
    "encode": "codec.encode(one)",
    "decode": "codec.decode(cls, '1-1', fields)",
    "append, each of a batch": "next(appender.flow(batch, appender.begin())) if number % 500 == 0 else None",
    "deliver": "handle(number)",
}
_PROGRAM = """
import asyncio, sys
from bench.publish import event
from busredis import Router
from busredis.append import Appender
from busredis.codec import Codec
from busredis.delivery.model import Delivery
from busredis.delivery.process import Process
from busredis.exchange import _packed
from busredis.settings import Settings
one = event(3); cls = type(one); codec = Codec(1 << 20); fields = [b"event", codec.encode(one)]
appender = Appender(Settings(url="redis://x")); batch = [appender.record(one)] * 500
router = Router()
@router.on(cls, name="h")
async def h(event): pass
process = Process(next(iter(router)), codec, None)
def handle(number):
    run = process.run(Delivery("s", cls, b"1-1", fields, 1, "c", 0.0))
    try: run.send(None)
    except StopIteration: pass
for number in range(int(sys.argv[1])):
    {call}
"""


def _instructions(call: str, calls: int) -> int:
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={out.name}",
                sys.executable,
                "-c",
                _PROGRAM.replace("{call}", call),
                str(calls),
            ],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr[-1_000:]
    return int(found[1])


def instructions() -> dict[str, float]:
    """Instructions a call, start-up taken off; empty without valgrind."""
    if shutil.which("valgrind") is None:
        return {}
    idle = _instructions("pass", _CALLS)
    return {name: round((_instructions(call, _CALLS) - idle) / _CALLS) for name, call in _PATHS.items()}


def ratios() -> dict[str, float]:
    from bench import consume, publish  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        publish.run(server.url)
        consume.run(server.url)
    return {
        f"{row.case}: {row.name}": round(row.ratio, 3)
        for row in measure.FOUND
        if row.ratio is not None and row.name != row.base
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def compare(before: dict, after: dict) -> list[str]:
    """What got more than 10% dearer, with the figures."""
    found = []
    for name, now in after["instructions"].items():
        then = before["instructions"].get(name)
        if then and before["python"] == after["python"] and now > then * _DEARER:
            found.append(f"{name}: {then:,.0f} -> {now:,.0f} instructions ({now / then:.2f}x)")
    for name, now in after["ratios"].items():
        then = before["ratios"].get(name)
        if then and now * _DEARER < then:
            found.append(f"{name}: {then:.2f}x -> {now:.2f}x of raw")
    return found


def main() -> None:
    now = {
        "commit": _commit(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "python": platform.python_version(),
        "instructions": instructions(),
        "ratios": ratios(),
    }
    if not now["instructions"]:
        print("valgrind is not here: ratios only, which drift with the machine")
    for name, value in now["instructions"].items():
        print(f"  {value:10,.0f} instructions  {name}")
    lines = _HISTORY.read_text().splitlines() if _HISTORY.exists() else []
    entries = [json.loads(line) for line in lines]
    before = [entry for entry in entries if entry["commit"] != now["commit"]]
    dearer = compare(before[-1], now) if before else []
    for problem in dearer:
        print(f"WARNING: dearer than at {before[-1]['commit']}: {problem}")
    if not dearer:
        print("nothing got more than 10% dearer")
    kept = [entry for entry in entries if entry["commit"] != now["commit"]]
    _HISTORY.write_text("".join(json.dumps(entry) + "\n" for entry in [*kept, now]))


if __name__ == "__main__":
    main()
