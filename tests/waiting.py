"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable


def wait_until(predicate: Callable[[], object], description: str, timeout: float = 20.0) -> None:
    until = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout} s: {description}")
        time.sleep(0.01)
