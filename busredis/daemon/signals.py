"""SIGTERM and SIGINT, while a daemon runs."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on the loop for each SIGTERM or SIGINT; what was set before is set again at the end.

    A handler set through the loop wakes it from its poll, which one set with signal.signal does not
    (https://docs.python.org/3/library/asyncio-eventloop.html#unix-signals). Outside of the main thread, where signals
    cannot be set, it does nothing.
    """
    loop = asyncio.get_running_loop()
    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, stop)
    except (ValueError, RuntimeError):
        before.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
