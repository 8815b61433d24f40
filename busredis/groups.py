"""Which groups there are, when a consumer of theirs was seen, and the removal of those that nobody runs any more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from busredis.commands import Flow, pairs, raw, script, text
from busredis.errors import BusError
from busredis.inventory import find_streams
from busredis.keys import Keys
from busredis.partitions import Tries


@dataclass
class Group:
    """A group over all its streams.

    `silent` is for how many seconds no consumer of it was seen, None if none is known. Without event types it is lost:
    a daemon ran it once, and its checkpoint is all that is left of it. `open` counts entries that are pending.
    """

    name: str
    event_types: list[str] = field(default_factory=list)
    open: int = 0
    silent: float | None = None
    #: Its name as the server has it, where that is no UTF-8; not shown.
    _sent: bytes = field(default=b"", repr=False, compare=False)

    @property
    def sent(self) -> bytes:
        """Its name for commands."""
        return self._sent or self.name.encode()


def find_groups(keys: Keys) -> Flow[list[Group]]:
    """Every group, by name, those included that are known by their checkpoint alone."""
    return (yield from find_groups_everywhere([keys]))


def find_groups_everywhere(partitions: Sequence[Keys]) -> Flow[list[Group]]:
    """As find_groups(), of all partitions: one that is seen in any of them is not silent."""
    found: dict[str, Group] = {}
    for keys, streams in zip(partitions, (yield from find_streams(partitions)), strict=True):
        for part in (yield from _find_groups(keys, streams)):
            group = found.setdefault(part.name, Group(part.name, _sent=part.sent))
            group.event_types = sorted({*group.event_types, *part.event_types})
            group.open += part.open
            known = [silent for silent in (group.silent, part.silent) if silent is not None]
            group.silent = min(known, default=None)
    return [found[name] for name in sorted(found)]


def _find_groups(keys: Keys, streams: Sequence[str]) -> Flow[list[Group]]:
    found = {text(name): Group(text(name), _sent=name) for name in (yield from raw("SMEMBERS", keys.groups))}
    for stream in streams:
        for row in (yield from raw("XINFO", "GROUPS", stream)):
            info = pairs(row)
            name = text(info["name"])
            group = found.setdefault(name, Group(name, _sent=info["name"]))
            group.event_types.append(keys.event_type(stream))
            group.open += info["pending"]
            for consumer in (yield from raw("XINFO", "CONSUMERS", stream, group.sent)):
                idle = pairs(consumer)["idle"] / 1000
                group.silent = idle if group.silent is None else min(group.silent, idle)
    return list(found.values())


def abandoned(groups: list[Group], least: timedelta) -> list[Group]:
    """Those of which no consumer was seen for so long, or ever."""
    return [group for group in groups if group.silent is None or group.silent >= least.total_seconds()]


def prune(keys: Keys, group: Group, least: timedelta) -> Flow[bool]:
    """Removes a group with what it had read, pending and waiting; false if a consumer of it was seen meanwhile.

    No entry and no dead letter is removed. If its daemon comes back, it begins anew.
    """
    own = [keys.groups, keys.checkpoint(group.name), keys.failures(group.name), keys.stats(group.name)]
    own += [keys.owner(group.name), keys.free(group.name)]
    streams = [keys.stream(event_type) for event_type in group.event_types]
    silence = int(least.total_seconds() * 1000)
    return bool((yield from script("prune_group", [*own, *streams], [group.sent, silence])))


class GroupSeen(BusError):
    """A group is not removed, since a consumer of it was seen."""


def prune_everywhere(partitions: Sequence[Keys], group: Group, least: timedelta) -> Flow[bool]:
    """Removes a group from every partition as prune() does; false, and nothing removed, if it was seen in any meanwhile.

    Partitions are looked at first and then done one after the other. Raises PartlyDone if one could not be reached, or the
    group came back while others were done: there it begins anew.
    """
    if len(partitions) == 1:
        return (yield from prune(partitions[0], group, least))
    now = [one for one in (yield from find_groups_everywhere(partitions)) if one.name == group.name]
    if now and not abandoned(now, least):
        return False

    tries = Tries[bool](partitions)
    for keys in partitions:
        with tries.at(keys):
            if (yield from prune(keys, group, least)):
                tries.done(keys, True)
                continue
            if not tries.results:
                return False
            raise GroupSeen(f"group {group.name}: a consumer was seen meanwhile, it is left as it is")
        break  # where it is, or may be, alive again nothing more is removed
    tries.end()
    return True
