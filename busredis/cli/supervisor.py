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
    stopping = threading.Event()
    children = [_start(arguments) for _ in range(processes)]

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    codes: list[int] = []
    while children:
        for child in [child for child in children if child.poll() is not None]:
            children.remove(child)
            if child.returncode in (0, 2) or stopping.is_set():
                # One that the signal ended had not begun to listen for it, and so held nothing.
                codes.append(0 if child.returncode in _SIGNALS else child.returncode)
                continue
            log.error("daemon process %d ended with code %d, it is replaced", child.pid, child.returncode)
            stopping.wait(_CALM_SECONDS)
            if not stopping.is_set():
                children.append(_start(arguments))
        threading.Event().wait(0.1)
    return max((abs(code) for code in codes), default=0)


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches it once, through stop(), and not twice, which would mean "now".
    return subprocess.Popen([sys.executable, "-m", "busredis", *arguments], start_new_session=True)  # noqa: S603
