"""How long an entry waits between attempts."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Union

from busredis.errors import RegistrationError

#: Seconds or a timedelta: the same pause each time. A list: the pause after each attempt, the last one repeated.
#: A function from the attempt (from 1) to a timedelta. Or a Backoff.
BackoffLike = Union["Backoff", timedelta, float, Sequence[timedelta | float], Callable[[int], timedelta]]


@dataclass(frozen=True)
class Backoff:
    """Doubles from `base` up to `cap`, with full jitter: the pause lies anywhere between zero and that bound.

    Full jitter spreads the load of many failures best
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    base: timedelta = timedelta(seconds=1)
    cap: timedelta = timedelta(minutes=5)
    jitter: bool = True

    def pause(self, attempt: int, entry: str) -> timedelta:
        """The pause after `attempt` of `entry`: the same in every daemon, so any of them knows when it is due."""
        bound = min(self.base * (1 << min(attempt - 1, 40)), self.cap)
        if not self.jitter:
            return bound
        share = (zlib.crc32(f"{entry} {attempt}".encode()) + 1) / float(1 << 32)
        return bound * share


_FORMS = "give seconds, a timedelta, a list of them, a function or a Backoff"

Pause = Callable[[int, str], timedelta]


def pause_function(backoff: BackoffLike) -> Pause:
    """`backoff`, in whichever form, as a function of attempt and entry. Raises RegistrationError."""
    if isinstance(backoff, Backoff):
        return backoff.pause
    if isinstance(backoff, timedelta | int | float):
        fixed = _pause(backoff)
        return lambda _attempt, _entry: fixed
    if callable(backoff):
        function = backoff
        return lambda attempt, _entry: function(attempt)
    if isinstance(backoff, str) or not isinstance(backoff, Sequence):
        raise RegistrationError(f"backoff is {backoff!r}: {_FORMS}")
    steps = [_pause(step) for step in backoff]
    if not steps:
        raise RegistrationError("backoff is an empty list: name at least one pause")
    return lambda attempt, _entry: steps[min(attempt, len(steps)) - 1]


def _pause(value: timedelta | float) -> timedelta:
    try:
        pause = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError):
        raise RegistrationError(f"backoff is {value!r}: {_FORMS}") from None
    if pause < timedelta(0):
        raise RegistrationError(f"backoff is {pause}: a pause cannot be negative")
    return pause
