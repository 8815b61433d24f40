"""Runs the tests of a mutant in a copy of the tree."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mutations.model import Mutant, Stale

ROOT = Path(__file__).parents[1]
_COPIED = ("busredis", "handlers", "examples", "tests", "pyproject.toml")
#: A test that hangs because of a mutant has failed; it need not hang for as long as it may in the suite.
_TEST_SECONDS = 30
_RUN_SECONDS = 90


@dataclass(frozen=True)
class Result:
    """`caught` if every test of the mutant failed; `missed` are those that did not."""

    mutant: Mutant
    verdict: str
    missed: tuple[str, ...]
    seconds: float
    output: str = ""


def prove(mutant: Mutant, origin: Path) -> Result:
    """Breaks a copy of `origin` and runs the mutant's tests there."""
    started = time.monotonic()
    with copied(origin) as tree:
        try:
            for edit in mutant.edits:
                edit.apply(tree)
                _check_syntax(tree / edit.file)
        except (Stale, SyntaxError) as error:
            return Result(mutant, "STALE", mutant.tests, 0.0, str(error))
        output = _run(tree, mutant.tests)
    failed = set(re.findall(r"^FAILED (\S+?)(?: - .*)?$", output, re.MULTILINE))
    missed = tuple(test for test in mutant.tests if not any(_names(test, one) for one in failed))
    verdict = "SURVIVED" if missed else "caught"
    return Result(mutant, verdict, missed, time.monotonic() - started, output)


def without_mutants(tests: Sequence[str], origin: Path) -> str:
    """The output of `tests` on `origin` as it is, or nothing if all pass: only then does a failure prove anything."""
    output = _run(origin, tests)
    return "" if re.search(r"^\d+ passed in ", output, re.MULTILINE) else output


def _names(test: str, failed: str) -> bool:
    """Whether the pytest id `test` names `failed`: itself, or all of its parameters."""
    return failed == test or failed.startswith(f"{test}[")


@contextmanager
def copied(origin: Path = ROOT) -> Iterator[Path]:
    """The code and its tests in a folder of their own, so that nobody's edits meanwhile count."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        for name in _COPIED:
            source = origin / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / name)
        yield tree


def _check_syntax(path: Path) -> None:
    # A mutant that cannot be imported fails every test and proves none of them.
    if path.suffix == ".py":
        compile(path.read_text(), path.name, "exec")


def _run(tree: Path, tests: Sequence[str]) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("BUSREDIS_URL", "BUSREDIS_NAMESPACE")}
    environment |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    where = "import busredis; print(busredis.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=tree, env=environment, capture_output=True, check=True
    )
    assert Path(found.stdout.decode().strip()).is_relative_to(tree.resolve()), found.stdout
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider"]
    command += [f"--timeout={_TEST_SECONDS}", *tests]
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its servers too
            output, _ = process.communicate()
    return output.decode(errors="replace")
