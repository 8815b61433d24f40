"""Every key of busredis, with its Redis type. No other module spells one.

All keys of a partition share one hash tag, so that one script can touch them and Redis Cluster keeps them together
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
"""

import re
from dataclasses import dataclass, field
from functools import cache

from busredis.errors import SettingsError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
#: The consumers that hold entries between attempts: `waiting` by the handler's backoff, `waiting-<ms>` by request.
WAITING = "waiting"


def check_name(kind: str, name: str) -> str:
    """`name`, if it can be a group, consumer or view. Raises SettingsError that shows what is allowed."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{kind} {name[:80]!r} is not a name: letters, digits, '_', '.', '@', '-', at most 128"
        )
    if kind == "group" and name.split("-", maxsplit=1)[0] == WAITING:
        raise SettingsError(f"group {name!r}: names that start with {WAITING!r} are busredis' own")
    return name


@dataclass(frozen=True)
class Keys:
    """The keys of one partition of a namespace."""

    namespace: str = "busredis"
    partition: int | None = None
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        number = "" if self.partition is None else f":{self.partition}"
        object.__setattr__(self, "tag", f"{{{self.namespace}{number}}}")

    def stream(self, event_type: str) -> str:
        """stream: one entry an event of this type."""
        return f"{self.tag}:stream:{event_type}"

    @property
    def stream_prefix(self) -> str:
        """What stands before the event type in the key of a stream."""
        return f"{self.tag}:stream:"

    @staticmethod
    def at(key: str) -> "Keys":
        """The keys of the partition that `key` belongs to."""
        return _at(key[: key.index("}")])

    def event_type(self, stream: str) -> str:
        """The event type of a stream key."""
        return stream.removeprefix(f"{self.tag}:stream:")

    def dead(self, group: str) -> str:
        """stream: the entries that this group gave up."""
        return f"{self.tag}:dead:{group}"

    def once(self, token: str) -> str:
        """string: what was answered to this token (an idempotency key, or a publisher's last append)."""
        return f"{self.tag}:once:{token}"

    def aggregate(self, aggregate_type: str, aggregate_id: str) -> str:
        """list: the history of this aggregate; the nth is the reference to version n, `<event type> <entry id>`."""
        return f"{self.tag}:aggregate:{aggregate_type}:{aggregate_id}"

    def snapshot(self, aggregate_type: str, aggregate_id: str) -> str:
        """hash: the state of this aggregate at a version: version, state, schema, position, taken_at."""
        return f"{self.tag}:snapshot:{aggregate_type}:{aggregate_id}"

    @property
    def types(self) -> str:
        """set: the event types whose streams an append has begun; what a feed has to merge."""
        return f"{self.tag}:types"

    @property
    def tracking(self) -> str:
        """hash: by source, the position up to which what was made of it is stored."""
        return f"{self.tag}:tracking"

    @property
    def clock(self) -> str:
        """string: the last id that an append gave out, `ms-seq`."""
        return f"{self.tag}:clock"

    @property
    def partitions(self) -> str:
        """string: how many partitions the namespace has; this key belongs to none of them."""
        return f"{{{self.namespace}}}:partitions"

    def checkpoint(self, group: str) -> str:
        """hash: by stream, the id up to which this group has nothing open; where a lost group is restored."""
        return f"{self.tag}:checkpoint:{group}"

    def failures(self, group: str) -> str:
        """hash: by `stream id`, the first failure (unix ms) and the last error of an entry that waits."""
        return f"{self.tag}:failures:{group}"

    def stats(self, group: str) -> str:
        """hash: execution times and outcomes of this group's handler, counted."""
        return f"{self.tag}:stats:{group}"

    def view(self, name: str) -> str:
        """any type: a read model that a handler keeps."""
        return f"{self.tag}:view:{name}"

    @property
    def every_stream(self) -> str:
        """A SCAN pattern for the streams of events."""
        return f"{_literal(self.tag)}:stream:*"

    def every_aggregate(self, aggregate_type: str | None = None) -> str:
        """A SCAN pattern for the histories of aggregates, of one type or of all."""
        return f"{_literal(self.tag)}:aggregate:{_literal(aggregate_type) + ':' if aggregate_type else ''}*"

    def every_snapshot(self, aggregate_type: str | None = None) -> str:
        """A SCAN pattern for snapshots, of the aggregates of one type or of all."""
        return f"{_literal(self.tag)}:snapshot:{_literal(aggregate_type) + ':' if aggregate_type else ''}*"

    def named(self, key: str) -> tuple[str, str]:
        """The type and the id of the aggregate that a history or a snapshot belongs to."""
        aggregate_type, _, aggregate_id = key.removeprefix(f"{self.tag}:").partition(":")[2].partition(":")
        return aggregate_type, aggregate_id

    @property
    def every_dead(self) -> str:
        """A SCAN pattern for the streams of dead letters."""
        return f"{_literal(self.tag)}:dead:*"

    def known(self, key: str) -> bool:
        """Whether this module could have spelled `key`."""
        kinds = "stream|dead|once|checkpoint|failures|stats|view|aggregate|snapshot|lease"
        pattern = rf"{re.escape(self.tag)}:(clock|types|tracking|schedule|({kinds}):.+)"
        if key == self.partitions:
            return True
        return re.fullmatch(pattern, key, re.DOTALL) is not None


@cache
def _at(tag: str) -> Keys:
    namespace, _, number = tag[1:].partition(":")
    return Keys(namespace, int(number) if number else None)


def _literal(text: str) -> str:
    return re.sub(r"([*?\[\]^\\])", r"\\\1", text)


def parse_id(entry_id: str) -> tuple[int, int]:
    """`(ms, seq)` of an entry id; ids compare as these pairs."""
    ms, _, seq = entry_id.partition("-")
    return int(ms), int(seq or 0)


def just_before(entry_id: str) -> str:
    """The greatest id below `entry_id`: a group created there starts with that entry."""
    ms, seq = parse_id(entry_id)
    if seq > 0:
        return f"{ms}-{seq - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms > 0 else "0-0"
