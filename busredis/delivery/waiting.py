"""The names of consumers that hold entries between attempts, and what pause they mean."""

from busredis.delivery.model import Outcome
from busredis.keys import BEHIND, WAITING

#: About three centuries stand for "never": whatever is longer could not be counted on.
_LONGEST_MS = 10_000_000_000_000
#: No longer name is taken for a pause: the server would not take such a number.
_DIGITS = 18


def waiting_name(outcome: Outcome) -> str:
    """The consumer to wait with: `waiting` for the handler's backoff, `waiting-<ms>` for a pause of its own."""
    if outcome.after is None:
        return WAITING
    wanted = min(max(0, -int(-outcome.after.total_seconds() * 1000 // 1)), _LONGEST_MS)
    # Two digits that count, rounded up: not before its time, and few names.
    step = 10 ** max(0, len(str(wanted)) - 2)
    return f"{WAITING}-{-(-wanted // step) * step}"


def asked_pause_ms(holder: str) -> int | None:
    """The pause in the name of a waiting consumer, if it has one."""
    _, _, pause = holder.partition("-")
    is_pause = holder.startswith(f"{WAITING}-") and pause.isascii() and pause.isdigit()
    return min(int(pause), _LONGEST_MS) if is_pause and len(pause) <= _DIGITS else None


def is_waiting(holder: str) -> bool:
    return holder in (WAITING, BEHIND) or asked_pause_ms(holder) is not None
