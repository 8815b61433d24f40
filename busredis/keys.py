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
#: The consumer that holds entries of an ordered handler that cannot run yet, behind another one of their key.
BEHIND = f"{WAITING}-behind"


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

    def beside(self, key: str) -> "Keys":
        """Keys like these, in the partition that `key` belongs to."""
        return self.at(key)

    def shown(self, entry_id: str) -> str:
        """An entry id as people read and write it: where there are several partitions, with its own before it."""
        return entry_id if self.partition is None else f"{self.partition}/{entry_id}"

    def event_type(self, stream: str) -> str:
        """The event type of a stream key."""
        return stream.removeprefix(f"{self.tag}:stream:")

    def dead(self, group: str) -> str:
        """stream: the entries that this group gave up."""
        return f"{self.tag}:dead:{group}"

    def once(self, token: str) -> str:
        """string: what was answered to this token (an idempotency key, or a publisher's last append)."""
        return f"{self.tag}:once:{token}"

    @property
    def once_prefix(self) -> str:
        """What stands before the token in the key of what was answered to it."""
        return f"{self.tag}:once:"

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
    def archive(self) -> str:
        """hash: where the archive of this partition is (url), and the hash of its manifest's last line (head)."""
        return f"{self.tag}:archive"

    @property
    def personal(self) -> str:
        """hash: the keys of personal data: `subject <subject>` its key's id, `key <id>` the key, `erasures` a count."""
        return f"{self.tag}:personal"

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

    @property
    def checkpoint_prefix(self) -> str:
        """What stands before the name of a group in the key of its checkpoint."""
        return f"{self.tag}:checkpoint:"

    @property
    def groups(self) -> str:
        """set: the groups that a daemon has run; each may have a checkpoint."""
        return f"{self.tag}:groups"

    @property
    def retention(self) -> str:
        """hash: by event type, how long its entries are kept; what is not named is kept for good."""
        return f"{self.tag}:retention"

    @property
    def trimmed(self) -> str:
        """hash: by event type, the id of the last entry that was trimmed."""
        return f"{self.tag}:trimmed"

    @property
    def schedule(self) -> str:
        """zset: the ids of events that are to be appended, by the unix ms at which they are due."""
        return f"{self.tag}:schedule"

    @property
    def scheduled(self) -> str:
        """hash: by id, an event that is to be appended, `<event type> <fingerprint or -> <JSON>`."""
        return f"{self.tag}:scheduled"

    def lease(self, task: str) -> str:
        """string: the daemon that does this task for all of them, for a while."""
        return f"{self.tag}:lease:{task}"

    def failures(self, group: str) -> str:
        """hash: by `stream id`, the first failure (unix ms) and the last error of an entry that waits."""
        return f"{self.tag}:failures:{group}"

    def stats(self, group: str) -> str:
        """hash: execution times and outcomes of this group's handler, counted."""
        return f"{self.tag}:stats:{group}"

    def owner(self, group: str) -> str:
        """hash: who owns the ordered handling of this group, until when, with which fencing token, and who stands by."""
        return f"{self.tag}:lease:ordered:{group}"

    def free(self, group: str) -> str:
        """stream, of one entry: the last time that the lease of this group was given up; wakes those who stand by."""
        return f"{self.tag}:free:{group}"

    def parked(self, group: str) -> str:
        """zset: by ordering key, the entries that are dead letters of this group, or were and are tried again."""
        return f"{self.tag}:parked:{group}"

    def view(self, name: str) -> str:
        """any type: a read model that a handler keeps."""
        return f"{self.tag}:view:{name}"

    @property
    def everything(self) -> str:
        """A SCAN pattern for every key of this partition."""
        return f"{_literal(self.tag)}:*"

    @property
    def everything_beside(self) -> str:
        """A SCAN pattern for every key of every partition of this namespace."""
        return f"{{{_literal(self.namespace)}{'' if self.partition is None else ':*'}}}:*"

    def is_view(self, key: str) -> bool:
        """Whether `key` is one that view() spells."""
        return key.startswith(f"{self.tag}:view:")

    def view_name(self, key: str) -> str:
        """The name of a read model under `key`."""
        return key.removeprefix(f"{self.tag}:view:")

    def replay(self, group: str) -> str:
        """hash: by stream, the id up to which this group is given again what it has had; `side-effects`: 1 if they run."""
        return f"{self.tag}:replay:{group}"

    def shadow(self, name: str) -> "ShadowKeys":
        """The keys of a shadow group, which handles copies of entries and writes to read models of its own."""
        return ShadowKeys(self.namespace, self.partition, shadow_name=name)

    def every_view(self, pattern: str = "*") -> str:
        """A SCAN pattern for the read models with names like `pattern`."""
        return f"{_literal(self.tag)}:view:{pattern}"

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
        kinds = "stream|dead|once|checkpoint|failures|stats|view|aggregate|snapshot|lease|replay|shadow|free|parked"
        single = "archive|personal|clock|types|tracking|schedule|scheduled|groups|retention|trimmed"
        pattern = rf"{re.escape(self.tag)}:({single}|({kinds}):.+)"
        # Two are outside of any partition.
        apart = (self.partitions, Keys(self.namespace).personal)
        return key in apart or re.fullmatch(pattern, key, re.DOTALL) is not None


@dataclass(frozen=True)
class ShadowKeys(Keys):
    """The keys that a handler is given while it rebuilds its read models beside those in use."""

    shadow_name: str = ""

    def stream(self, event_type: str) -> str:
        """stream: copies of entries of this type, for the shadow group alone."""
        return f"{self.tag}:shadow:{self.shadow_name}:{event_type}"

    def view(self, name: str) -> str:
        """any type: a read model under way, which takes the place of view:<name> when it is switched over."""
        return f"{self.tag}:view:{name}@{self.shadow_name}"

    def is_view(self, key: str) -> bool:
        """Whether `key` is one that view() spells: not a read model in use."""
        return super().is_view(key) and key.endswith(f"@{self.shadow_name}")

    def beside(self, key: str) -> "ShadowKeys":
        """As Keys.beside(): those of this shadow, or its handler would write to the read models in use."""
        return self.at(key).shadow(self.shadow_name)

    def in_use(self, key: str) -> str:
        """The read model whose place the one under `key` takes."""
        return key.removesuffix(f"@{self.shadow_name}")


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


def just_after(entry_id: str) -> str:
    """The smallest id above `entry_id`."""
    ms, seq = parse_id(entry_id)
    return f"{ms}-{seq + 1}" if seq < 2**64 - 1 else f"{ms + 1}-0"


def just_before(entry_id: str) -> str:
    """The greatest id below `entry_id`: a group created there starts with that entry."""
    ms, seq = parse_id(entry_id)
    if seq > 0:
        return f"{ms}-{seq - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms > 0 else "0-0"
