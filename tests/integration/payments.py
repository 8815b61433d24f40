"""Payments for the tests of delivery, and what a group has pending and dead."""

from busredis import DomainEvent
from busredis.keys import Keys


class Paid(DomainEvent):
    amount: int = 0


class Refunded(DomainEvent):
    amount: int = 0


def pending(inspect, keys: Keys, event_type: str, group: str) -> int:
    return inspect.xpending(keys.stream(event_type), group)["pending"]


def letters(inspect, keys: Keys, group: str) -> list[dict[str, str]]:
    found = inspect.xrange(keys.dead(group))
    return [{k.decode(): v.decode("utf-8", "replace") for k, v in fields.items()} for _, fields in found]
