"""Python's collector of cycles, while a daemon runs."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects before the collector looks at them; Python's own number is 700.
_OBJECTS = 10_000


@contextmanager
def few_collections() -> Iterator[None]:
    """What is read makes many short-lived objects, which the collector looks through again and again for nothing."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(before[0], _OBJECTS) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
