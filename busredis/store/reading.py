"""One reading of a history, page by page."""

from datetime import datetime

from busredis.errors import StoreError
from busredis.store.model import AggregateId, StoredEvent
from busredis.store.operations import PAGE, Load, Steps


class Reading:
    """Where a reading of one history is: the versions that are left of `(after, upto]`."""

    def __init__(
        self,
        aggregate: AggregateId,
        versions: tuple[int, int | None],
        at: datetime | None,
        *,
        backward: bool,
        limit: int | None,
    ) -> None:
        if at is not None and at.tzinfo is None:
            raise StoreError("at: the time has no zone; use datetime.now(UTC)")
        self._aggregate = aggregate.checked()
        self._after, self._upto = max(versions[0], 0), versions[1]
        self._at = at
        self._backward = backward
        self._left = limit
        self.done = limit is not None and limit <= 0

    def page(self) -> Steps[list[StoredEvent]]:
        """The next events, at least one unless the reading is done."""
        count = PAGE if self._left is None else min(PAGE, self._left)
        page = yield Load(
            self._aggregate, self._after, self._upto, self._at, count=count, backward=self._backward
        )
        events: list[StoredEvent] = page.events
        # What is appended meanwhile is for the next reading, and the time was looked up already.
        self._upto, self._at = page.upto, None
        if self._left is not None:
            self._left -= len(events)
        if events and self._backward:
            self._upto = page.upto - len(events)
        elif events:
            self._after += len(events)
        self.done = not events or self._after >= self._upto or self._left == 0
        return events
