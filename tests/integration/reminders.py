"""Events for the schedule, and a time that no test will see."""

from datetime import UTC, datetime

from busredis import DomainEvent


class Reminded(DomainEvent):
    number: int = 0
    text: str = ""


class Asked(DomainEvent):
    number: int = 0


FUTURE = datetime(2150, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def events(inspect, keys, kind=Reminded):
    return [kind.from_json(fields[b"event"]) for _, fields in inspect.xrange(keys.stream(kind.type_name))]
