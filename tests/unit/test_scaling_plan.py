"""The arithmetic of docs/scaling.md, and that its figures are those of the tables there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from busredis.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling_plan", DOCS / "scaling.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / "scaling.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_work_and_memory_decide_about_the_masters(scaling):
    node = scaling.Node(appends=100_000, deliveries=50_000, memory=10 * 2**30)

    busy = scaling.plan(scaling.Load(rate=50_000, bytes=400, days=0.001, groups=2), node)
    assert busy.work == pytest.approx(0.5 + 2.0)
    assert (busy.masters, busy.partitions) == (5, 64)
    large = scaling.plan(scaling.Load(rate=1_000, bytes=955, days=1, groups=1), node)
    assert large.memory == pytest.approx(86_400 * 1_000 * 1_000)
    assert (large.masters, large.partitions) == (9, 128)
    small = scaling.plan(scaling.Load(rate=10, bytes=400, days=1, groups=1), node)
    assert (small.masters, small.partitions) == (1, 1)


def test_no_plan_has_more_partitions_than_a_namespace_may_have(scaling):
    example = re.search(r"`python docs/scaling.py (--rate [^`]*)`", (DOCS / "scaling.md").read_text())
    assert example
    done = run(*example[1].split())

    assert done.returncode == 0, done.stderr
    planned = re.search(r"partitions +(\d+)", done.stdout)
    assert planned
    assert int(planned[1]) <= scaling.MOST_PARTITIONS
    assert Settings(partitions=scaling.MOST_PARTITIONS).partitions == scaling.MOST_PARTITIONS
    assert "divide the events" in run("--rate", "1e9").stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rate", "-1"),
        ("rate", "nan"),
        ("rate", "inf"),
        ("deliveries", "0"),
        ("bytes", "4.5"),
        ("days", "three"),
    ],
)
def test_a_number_that_is_none_is_refused_with_its_option(option, value):
    done = run(f"--{option}", value)

    assert done.returncode == 2
    assert f"argument --{option}: '{value}' is no" in done.stderr
    assert not done.stdout


def test_help_names_every_option_and_its_default():
    shown = run("--help").stdout

    for option in ("rate", "bytes", "days", "groups", "appends", "deliveries", "memory"):
        assert re.search(rf"--{option} [^-]*\(default: \d+\)", shown, re.DOTALL), option


def test_what_a_server_is_said_to_do_is_what_the_tables_say_of_a_cluster(scaling):
    """`| cluster of 3 | 32 | 2 | 1.14x | 54,448 | 8.2 | 8.3 |`: the last cell is the server's CPU of an event."""
    text = (DOCS / "scaling.md").read_text()
    dearest = {}
    for title in ("published", "handled"):
        table = text.split(f"| servers | partitions | processes | ratio | {title}/s |")[1].split("\n\n")[0]
        rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| cluster")]
        assert len(rows) == 3
        dearest[title] = max(float(row[-1].split()[0]) for row in rows)

    assert 1e6 / dearest["published"] // 10_000 * 10_000 == scaling.APPENDS
    assert 1e6 / dearest["handled"] // 10_000 * 10_000 == scaling.DELIVERIES
