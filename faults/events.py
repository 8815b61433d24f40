"""What the runs publish, who handles it, and which events fail: all of it follows from the number of an event."""

from busredis import DomainEvent
from busredis.keys import Keys

#: Never fails; concurrency 1, so that order can be checked.
STEADY = "steady"
#: A sync handler in threads, some of whose events fail.
FAILING = "failing"
GROUPS = (STEADY, FAILING)

MAX_ATTEMPTS = 3
BACKOFF_S = 0.3
AGGREGATES = 64


def effects_key(keys: Keys, group: str) -> str:
    """hash: by event number, how often its effect was applied for this group."""
    return keys.view(f"counted:{group}")


class Step(DomainEvent):
    """One numbered event; no two of a run have the same number."""

    number: int = 0


def step(number: int) -> Step:
    return Step(number=number, aggregate_id=f"a-{number % AGGREGATES}", aggregate_type="Walk")


def failures(group: str, number: int) -> int:
    """How many attempts of this event fail in this group."""
    if group != FAILING:
        return 0
    if is_hopeless(group, number):
        return MAX_ATTEMPTS
    return 1 if number % 400 == 7 else 0


def is_hopeless(group: str, number: int) -> bool:
    """Whether this event fails until it is a dead letter."""
    return group == FAILING and number % 1_000 == 13


def has_effect(number: int) -> bool:
    """Whether handling it adds an effect: half of them, so that both ways to acknowledge meet every fault."""
    return number % 2 == 0


def takes_time(number: int) -> bool:
    """Whether handling it takes a moment, so that a fault finds some handler in the middle of its work."""
    return number % 100 == 3
