"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(predicate: Callable[[], Found], description: str, timeout: float = 20.0) -> Found:
    """What the predicate returns as soon as that is true."""
    until = time.monotonic() + timeout
    while not (found := predicate()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout} s: {description}")
        time.sleep(0.01)
    return found
