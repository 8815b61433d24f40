"""What commands are given: texts that say something, times with a zone."""

from datetime import UTC, datetime

from busredis import AggregateId
from snapshots.errors import InvalidArgument


def require(aggregate: AggregateId, **texts: str) -> None:
    """Each of the texts says something. Raises InvalidArgument."""
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgument(aggregate, name, "is empty")


def moment(aggregate: AggregateId, time: datetime | None, name: str = "now") -> datetime:
    """`time` in UTC; the present if there is none. Raises InvalidArgument."""
    if time is None:
        return datetime.now(UTC)
    if time.tzinfo is None:
        raise InvalidArgument(aggregate, name, f"has no zone: {time.isoformat()}")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise InvalidArgument(aggregate, name, "is outside of the years 1 to 9999 in UTC") from None
