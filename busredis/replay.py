"""Gives a group again what it has had, and switches read models that were rebuilt over."""

from dataclasses import dataclass
from typing import Literal

from busredis.commands import Arg, Flow, many, pairs, raw, scan, script
from busredis.errors import CommandRefused, ReplayRefused, ServerError
from busredis.keys import Keys, ShadowKeys, just_before, parse_id

OnPending = Literal["refuse", "again", "done"]


@dataclass(frozen=True, slots=True)
class Moved:
    """A stream of a group: the id after which it reads on, and the one up to which it had read."""

    event_type: str
    position: str
    was_at: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Keys of read models: which take the place of which, and which go."""

    renamed: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


def move(
    keys: Keys, group: str, first: str, *, on_pending: OnPending = "refuse", with_side_effects: bool = False
) -> Flow[list[Moved]]:
    """Moves a group back, so that it is given all entries from id `first` on again; in every stream or in none.

    Its handlers see ctx.replaying up to where the group was. What was open stays to be done: raises ReplayRefused if entries
    behind `first` are pending or waiting, unless they are to be replayed like all others (`again`), and if entries to be
    replayed were trimmed. A group is never moved forward.
    """
    streams = yield from streams_of(keys, group)
    positions = {name: just_before(first) for name in streams}
    return (yield from _rewind(keys, group, positions, Switch(), (on_pending, with_side_effects)))


def switch_over(
    shadow: ShadowKeys, group: str, positions: dict[str, str], drop: str | None = None
) -> Flow[tuple[list[Moved], Switch]]:
    """Puts the read models of a shadow in the place of those in use, and the group where the shadow is: in one step.

    What the group had handled beyond `positions` it is given again, for the new read models. `drop`: read models with names
    like this pattern that the shadow has not made go too. Then the shadow is removed. Raises ReplayRefused if it made none.
    """
    made = yield from scan(shadow.every_view(f"*@{shadow.shadow_name}"))
    renamed = tuple((key, shadow.in_use(key)) for key in made)
    if not renamed:
        raise ReplayRefused(f"shadow {shadow.shadow_name!r} has made no read model: nothing to switch over")
    kept = {key for pair in renamed for key in pair}
    old = (yield from scan(shadow.every_view(drop))) if drop else []
    switch = Switch(renamed, tuple(key for key in old if key not in kept))
    keys = Keys(shadow.namespace, shadow.partition)
    moved = yield from _rewind(keys, group, positions, switch, ("done", False))
    yield from discard(shadow)
    return moved, switch


def discard(shadow: ShadowKeys) -> Flow[None]:
    """Removes what a shadow has left: copies, read models, bookkeeping; not its dead letters."""
    name = shadow.shadow_name
    found = [*(yield from scan(shadow.stream("*"))), *(yield from scan(shadow.every_view(f"*@{name}")))]
    found += [shadow.checkpoint(name), shadow.failures(name), shadow.stats(name), shadow.replay(name)]
    found += [shadow.owner(name), shadow.free(name), shadow.parked(name)]
    yield from raw("DEL", *found)
    yield from raw("SREM", shadow.groups, name)


def streams_of(keys: Keys, group: str) -> Flow[list[str]]:
    """The event types whose streams the group reads. Raises ReplayRefused if there is none."""
    names = [keys.event_type(key) for key in (yield from scan(keys.every_stream))]
    replies = yield from many([("XINFO", "GROUPS", keys.stream(name)) for name in names])
    found = [
        name
        for name, rows in zip(names, replies, strict=True)
        if not isinstance(rows, ServerError) and any(pairs(row)["name"].decode() == group for row in rows)
    ]
    if not found:
        raise ReplayRefused(f"no stream has a group {group!r}; see busredis status")
    return found


def left(keys: Keys, group: str) -> Flow[int]:
    """About how many entries the replay of this group has still before it; 0 when it has ended."""
    until = pairs((yield from raw("HGETALL", keys.replay(group))))
    count = 0
    for stream, last in until.items():
        if not stream.startswith(keys.stream_prefix):
            continue
        rows = [pairs(row) for row in (yield from raw("XINFO", "GROUPS", stream))]
        [reached] = [row["last-delivered-id"].decode() for row in rows if row["name"].decode() == group]
        count += len((yield from raw("XRANGE", stream, f"({reached}", last, "COUNT", 100_000))) or 1
    return count


def _rewind(
    keys: Keys, group: str, positions: dict[str, str], switch: Switch, how: tuple[OnPending, bool]
) -> Flow[list[Moved]]:
    names = sorted(positions)
    touched = [keys.checkpoint(group), keys.replay(group), keys.failures(group), keys.trimmed]
    touched += [*map(keys.stream, names), *(key for pair in switch.renamed for key in pair), *switch.dropped]
    args: list[Arg] = [group, how[0], int(how[1]), len(names), len(switch.renamed)]
    for name in names:
        args += (name, positions[name])
    try:
        reply = yield from script("rewind", touched, args)
    except CommandRefused as error:
        raise _refused(group, str(error)) from None
    moved = [Moved(name, positions[name], was.decode()) for name, was in zip(names, reply, strict=True)]
    return [one for one in moved if parse_id(one.position) < parse_id(one.was_at)]


def _refused(group: str, message: str) -> Exception:
    word, _, rest = message.partition(" ")
    if word == "PENDING":
        return ReplayRefused(
            f"{group} has {rest} pending or waiting entries there, which were never handled: let its daemons finish, or "
            "replay them like all others (--pending again), or use a shadow"
        )
    if word == "TRIMMED":
        return ReplayRefused(
            f"entries of {rest.replace(' ', ' up to ')} were trimmed from Redis, so that a group cannot be moved back "
            "to them: a shadow (--shadow NAME) reads the archive too"
        )
    return CommandRefused(message)
