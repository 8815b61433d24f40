"""Several daemon processes that share the work: one that crashes is replaced, SIGTERM drains them all."""

import logging
import signal
import subprocess
import sys
import threading
from types import FrameType

log = logging.getLogger("busredis.supervisor")

#: A child that ends with an error sooner than this is waited for, so that a broken start does not spin.
_CALM_SECONDS = 1.0
_SIGNALS = (-signal.SIGTERM, -signal.SIGINT)


def supervise(arguments: list[str], processes: int) -> int:
    """Runs `python -m busredis` with `arguments` so many times; the exit code once all have ended."""
    crew = _Crew(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, crew.stop)
    for _ in range(processes):
        crew.start()
    codes: list[int] = []
    while crew.children:
        codes += crew.replace_ended()
        threading.Event().wait(0.1)
    return max((abs(code) for code in codes), default=0)


class _Crew:
    """The processes that run."""

    def __init__(self, arguments: list[str]) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        self._arguments = arguments
        self._signals: list[int] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        child = _start(self._arguments)
        self.children.append(child)
        for number in self._signals:  # what came while it was started did not reach it
            child.send_signal(number)

    def stop(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)
        self._stopping.set()
        for child in self.children:
            if child.poll() is None:
                child.send_signal(number)

    def replace_ended(self) -> list[int]:
        """Starts another for each that crashed; returns the exit codes of those that ended for good."""
        codes = []
        for child in [child for child in self.children if child.poll() is not None]:
            self.children.remove(child)
            if child.returncode in (0, 2) or self._stopping.is_set():
                # One that the signal ended had not begun to listen for it, and so held nothing.
                codes.append(0 if child.returncode in _SIGNALS else child.returncode)
                continue
            log.error("daemon process %d ended with code %d, it is replaced", child.pid, child.returncode)
            self._stopping.wait(_CALM_SECONDS)
            if not self._stopping.is_set():
                self.start()
        return codes


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches it once, through stop(), and not twice, which would mean "now".
    return subprocess.Popen([sys.executable, "-m", "busredis", *arguments], start_new_session=True)  # noqa: S603
