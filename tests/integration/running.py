"""Daemons that run in threads of the test's own process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import redis

from busredis import Daemon


class Running:
    """A daemon that runs beside a block, and is stopped at its end however that ends."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.thread = threading.Thread(target=daemon.run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.daemon.stop()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


class Repeating:
    """Calls a function with 0, 1, 2... from a thread, until stop() or the end of a block, however that ends."""

    def __init__(self, call: Callable[[int], object]) -> None:
        self.calls = 0
        self._call, self._stopping = call, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._call(self.calls)
            self.calls += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """How many calls have returned; none runs any more."""
        self._stopping.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.calls


@contextmanager
def released(event: threading.Event) -> Iterator[None]:
    """Lets go on what waits for the event, however the block ends."""
    try:
        yield
    finally:
        event.set()


def leave_with_a_ghost(inspect: redis.Redis, stream: str, group: str, entry_id: bytes) -> None:
    """Makes a settled entry one that a consumer was given just now, from which nobody will hear again.

    When it is taken over, the lease of all that was delivered before has ended too, unless it was renewed.
    """
    claimed = inspect.xclaim(stream, group, "ghost", 0, [entry_id], force=True, justid=True, retrycount=1)
    assert claimed == [entry_id]
