"""The environments of peers, and a program in one of them that is asked line by line and answers in JSON."""

import json
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self


class NotMeasured(Exception):
    """The peer cannot be installed or does not work here."""


def python_with(*packages: str, base: str = sys.executable) -> Path:
    """The Python of an environment that has `packages`; made once, kept in a folder of the temporary ones."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*packages, *Path(base).resolve().parts[-3:]]))
    folder = Path(tempfile.gettempdir()) / "busredis-bench-peers" / name
    python, stamp = folder / "bin" / "python", folder / "complete"
    if not stamp.exists():
        print(f"installing {', '.join(packages)} into {folder.name} ...", flush=True)
        _run(base, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        stamp.touch()
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(str(error)) from error
    if done.returncode:
        raise NotMeasured((done.stderr.strip() or f"{command} failed").splitlines()[-1])


class Peer:
    """A script beside this file, run by another Python: `ask` sends it a line and returns its answer; `tell` and `answer` are its halves."""

    def __init__(self, python: Path, script: str, *args: str) -> None:
        path = Path(__file__).with_name(script)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [str(python), str(path), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, *words: object) -> Any:
        self.tell(*words)
        return self.answer()

    def tell(self, *words: object) -> None:
        assert self._process.stdin
        try:
            print(*words, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise NotMeasured("the peer has ended") from None

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise NotMeasured(f"the peer ended with {code}: {said[-1][:200]}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.end()

    def end(self) -> None:
        """Ends a peer that does not answer."""
        self._process.kill()
        self._process.wait()
