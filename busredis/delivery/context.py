"""What a handler is given beside its event."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from busredis.commands import Arg, many, raw, script
from busredis.delivery.effects import Effects
from busredis.errors import ServerError
from busredis.events import DomainEvent
from busredis.lua import Source

if TYPE_CHECKING:
    from busredis.client import AsyncClient
    from busredis.keys import Keys
    from busredis.publisher import AsyncPublisher


#: Held while the effects of an attempt are created: a handler may have threads of its own.
_CREATING = threading.Lock()


@dataclass(frozen=True)
class Tools:
    """What all handlers of a daemon share."""

    keys: "Keys"
    client: "AsyncClient"
    publisher: "AsyncPublisher"


@dataclass(frozen=True, slots=True)
class Context:
    """The delivery that is being handled: which entry, which attempt, and the means to act on it.

    `entry_id` rises strictly over all event types of a partition. `attempt` counts from 1. `replaying`: the group has had
    this event before, and is given it again by a replay.
    """

    entry_id: str
    stream: str
    group: str
    attempt: int
    max_attempts: int
    tools: Tools | None = None
    replaying: bool = False
    #: Of an ordered handler: rises with each daemon that takes over. A store that refuses a lower one than it has seen
    #: is safe from a daemon that was frozen and does not know yet that it has been replaced.
    fencing_token: int | None = None
    may_publish: bool = True
    #: What `effects` has gathered, if it was used.
    gathered: Effects | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def effects(self) -> Effects:
        """Commands on keys of this event's partition, applied with the acknowledgement, all or none, exactly once.

        `ctx.effects.add("HINCRBY", ctx.view("totals"), event.account, event.cents)`, also in sync handlers. If the
        handler raises, be it Skip, they are dropped.
        """
        if self.gathered is None:
            keys = self._keys()
            with _CREATING:
                if self.gathered is None:
                    object.__setattr__(self, "gathered", Effects(keys))
        assert self.gathered is not None
        return self.gathered

    def view(self, name: str) -> str:
        """The key of a read model, in the partition of this event."""
        return self._keys().view(name)

    async def execute(self, *command: Arg) -> Any:
        """One Redis command; the raw reply (bytes, int, list, None). Raises ServerError."""
        return await self._tools().client.run(raw(*command).__iter__())

    async def execute_many(self, commands: Sequence[tuple[Arg, ...]]) -> list[Any]:
        """Commands in one transaction and one round trip: all of them or none. Raises ServerError."""
        if not commands:
            return []
        replies = await self._tools().client.run(many([("MULTI",), *commands, ("EXEC",)]))
        for reply in [*replies, *(replies[-1] if isinstance(replies[-1], list) else [])]:
            if isinstance(reply, ServerError):
                raise reply
        results: list[Any] = replies[-1]
        return results

    async def script(self, lua: str, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """One Lua script, atomically; the raw reply. Raises ServerError."""
        return await self._tools().client.run(script(Source.of("handler", lua), keys, args))

    async def seen(self, token: object, window: timedelta = timedelta(days=1)) -> bool:
        """Whether this handler has succeeded with `token` within the window; if not, that it will is noted.

        A filter, not exactly-once: it finds what was published twice (`await ctx.seen(event.event_id)`), but two daemons
        may ask at the same moment, and what an attempt did before it died is not undone. See docs/effects.md.
        """
        key = self._keys().once(f"seen:{self.group}:{token}")
        if await self.execute("EXISTS", key):
            return True
        self.effects.note("SET", key, self.entry_id)
        self.effects.note("PEXPIRE", key, max(1, int(window.total_seconds() * 1000)))
        return False

    async def publish(self, event: DomainEvent, *, key: str | None = None) -> str:
        """Publishes an event that this one caused; see Publisher.publish.

        A handler may run again: with `key` (say, the id of its event and a word) the event is stored once. In a replay only
        handlers that were declared with `side_effects=True` may publish: RuntimeError.
        """
        if not self.may_publish:
            raise RuntimeError(f"{self.group} publishes in a replay: declare it with side_effects=True")
        return await self._tools().publisher.publish(event, key=key)

    async def schedule(
        self,
        event: DomainEvent,
        *,
        at: datetime | None = None,
        delay: timedelta | float | None = None,
        key: str | None = None,
    ) -> str:
        """Schedules an event that this one caused; returns the id for `busredis schedule cancel`; see Publisher.schedule.

        A handler may run again: with `key` the event is scheduled and appended once.
        """
        return await self._tools().publisher.schedule(event, at=at, delay=delay, key=key)

    def _keys(self) -> "Keys":
        """Those of this event's partition."""
        keys = self._tools().keys
        return keys if self.stream.startswith(f"{keys.tag}:") else keys.beside(self.stream)

    def _tools(self) -> Tools:
        if self.tools is None:
            raise RuntimeError("this handler runs on the in-memory bus, which has no server to use")
        return self.tools
