"""Which groups there are, when a consumer of theirs was seen, and the removal of those that nobody runs any more."""

from dataclasses import dataclass, field
from datetime import timedelta

from busredis.commands import Flow, pairs, raw, script
from busredis.inventory import find_streams
from busredis.keys import Keys


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


def find_groups(keys: Keys) -> Flow[list[Group]]:
    """Every group, by name, those included that are known by their checkpoint alone."""
    found = {name.decode(): Group(name.decode()) for name in (yield from raw("SMEMBERS", keys.groups))}
    for stream in (yield from find_streams(keys)):
        for row in (yield from raw("XINFO", "GROUPS", stream)):
            info = pairs(row)
            name = info["name"].decode()
            group = found.setdefault(name, Group(name))
            group.event_types.append(keys.event_type(stream))
            group.open += info["pending"]
            for consumer in (yield from raw("XINFO", "CONSUMERS", stream, name)):
                idle = pairs(consumer)["idle"] / 1000
                group.silent = idle if group.silent is None else min(group.silent, idle)
    return [found[name] for name in sorted(found)]


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
    return bool((yield from script("prune_group", [*own, *streams], [group.name, silence])))
