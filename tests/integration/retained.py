"""Events of which a retention is said."""

from busredis import DomainEvent


class Stored(DomainEvent):
    number: int = 0


class Discarded(DomainEvent):
    number: int = 0
