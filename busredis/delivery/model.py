"""A delivery: one entry in the hands of one consumer, in one attempt."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import NamedTuple

from busredis.errors import DecodeError, EffectRefused, Reject, Retry, Skip
from busredis.events import DomainEvent

#: Longest error and traceback that are kept, in characters.
MAX_ERROR = 1_000
MAX_TRACEBACK = 4_000


@dataclass(slots=True, eq=False)
class Delivery:
    """`fields` is None if the entry was deleted while it was pending."""

    stream: str
    event_class: type[DomainEvent]
    id: bytes
    fields: list[bytes] | None
    attempt: int
    holder: str
    taken_at: float
    started_at: float = 0.0
    ended_at: float = 0.0
    lost: bool = False
    #: The event in it, if it was decoded already.
    event: DomainEvent | None = None
    #: In whose order it stands, of an ordered handler.
    key: str = ""
    #: The group has had this entry before, and is given it again by a replay.
    replaying: bool = False
    #: Its handler has side effects, and the replay leaves it out.
    left_out: bool = False

    @property
    def entry_id(self) -> str:
        return self.id.decode()


class Verdict(Enum):
    """How a delivery ends."""

    ACK = "ack"
    RETRY = "retry"
    DEAD_LETTER = "dead letter"
    RELEASE = "release"


class Effect(NamedTuple):
    """One command to apply together with the acknowledgement, ready to be sent."""

    command: str
    key: str
    args: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return len(self.key) + sum(map(len, self.args))


@dataclass(slots=True)
class Outcome:
    """A verdict with its reasons, bounded in size and safe to print; only with ACK there are effects."""

    verdict: Verdict
    reason: str = ""
    error: str = ""
    traceback: str = ""
    after: timedelta | None = None
    counts: bool = True
    effects: tuple[Effect, ...] = ()
    #: For a dead letter of an ordered handler: the member of parked:<group> behind which it is parked.
    behind: bytes = b""


ACK = Outcome(Verdict.ACK)
LEFT_OUT = Outcome(Verdict.ACK, "left out of the replay")
RELEASE = Outcome(Verdict.RELEASE, counts=False)


class HandlerTimeout(Exception):
    """The handler took longer than its timeout."""


def judge(error: BaseException, attempt: int, max_attempts: int) -> Outcome:
    """The end of an attempt that raised `error`. Decides and does nothing."""
    match error:
        case Skip():
            return Outcome(Verdict.ACK, "skipped", error.reason)
        case Reject():
            return Outcome(Verdict.DEAD_LETTER, "rejected", bounded(error.reason))
        case DecodeError():
            return Outcome(Verdict.DEAD_LETTER, error.reason, bounded(error.detail))
        case Retry(counts=False):
            return Outcome(Verdict.RETRY, "retry", bounded(error.reason), after=error.after, counts=False)
    reason = {Retry: "retry", HandlerTimeout: "timeout", EffectRefused: "effects"}.get(type(error), "failed")
    after = error.after if isinstance(error, Retry) else None
    verdict = Verdict.RETRY if attempt < max_attempts else Verdict.DEAD_LETTER
    return Outcome(verdict, reason, described(error), after=after)


def described(error: BaseException) -> str:
    """Class and message of `error`, also if its __str__ is broken."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the user's __str__
        message = "(its message cannot be read)"
    return bounded(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def bounded(text: str, limit: int = MAX_ERROR) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
