"""Processes that are killed at random points of their work."""

import multiprocessing
import random
import time
from collections.abc import Callable

FORK = multiprocessing.get_context("fork")


def run_and_kill(
    work: Callable[..., None], args: tuple[object, ...], chance: random.Random, within: float
) -> None:
    """Runs `work(*args, begun)` in a process until that event is set, and kills it up to so many seconds later."""
    begun = FORK.Event()
    process = FORK.Process(target=work, args=(*args, begun))
    process.start()
    assert begun.wait(20), "it does not start"
    time.sleep(chance.uniform(0, within))  # a random point of its work
    process.kill()
    process.join()
