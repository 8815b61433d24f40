"""Gives a group again what it has had, and switches read models that were rebuilt over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from busredis.commands import Arg, Flow, many, pairs, raw, scan, script
from busredis.errors import CommandRefused, ReplayRefused, ServerError
from busredis.keys import Keys, ShadowKeys, just_before, parse_id
from busredis.partitions import in_each

OnPending = Literal["refuse", "again"]


@dataclass(frozen=True, slots=True)
class Moved:
    """A stream of a group: the id after which it reads on, and the one up to which it had read; see Keys.shown()."""

    event_type: str
    position: str
    was_at: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Keys of read models: which take the place of which, and which go; and what else of the shadow goes."""

    renamed: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group is to be in a stream; what was trimmed above `had` is in the way, unless that is empty."""

    event_type: str
    position: str
    had: str = ""


@dataclass(frozen=True, slots=True)
class How:
    """What becomes of pending entries, whether handlers with side effects run, and whether it is only looked at."""

    on_pending: Literal[OnPending, "done"] = "refuse"
    with_side_effects: bool = False
    only_look: bool = False


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where a shadow is in one partition: by event type the last id that it has had, and up to where it has had all.

    Without a horizon nothing is known of that, and what was trimmed meanwhile is not looked at.
    """

    shadow: ShadowKeys
    reached: Mapping[str, str]
    horizon: str = ""


def move(
    keys: Keys, group: str, first: str, *, on_pending: OnPending = "refuse", with_side_effects: bool = False
) -> Flow[list[Moved]]:
    """Moves a group back, so that it is given all entries from id `first` on again; in every stream or in none.

    Its handlers see ctx.replaying up to where the group was. What was open stays to be done: raises ReplayRefused if entries
    behind `first` are pending or waiting, unless they are to be replayed like all others (`again`), and if entries to be
    replayed were trimmed. A group is never moved forward.
    """
    streams = yield from streams_of(keys, group)
    return (yield from _rewind(keys, group, _back(streams, first), How(on_pending, with_side_effects)))


def move_everywhere(
    bounds: Mapping[Keys, str],
    group: str,
    *,
    on_pending: OnPending = "refuse",
    with_side_effects: bool = False,
) -> Flow[list[Moved]]:
    """As move(), in each of these partitions from its own id on: refused in one, it is moved in none.

    In each partition it is one step; over all it is not. Raises PartlyDone if it was interrupted between two of them: the
    same again moves the group everywhere, also where it was moved already.
    """
    places: dict[Keys, list[Place]] = {}
    for keys, first in bounds.items():
        names = yield from _streams(keys, group)
        if names:
            places[keys] = _back(names, first)
    if not places:
        raise _no_group(group)
    how = How(on_pending, with_side_effects)
    for keys in places if len(bounds) > 1 else ():
        try:
            yield from _rewind(keys, group, places[keys], replace(how, only_look=True))
        except ReplayRefused as refused:
            raise ReplayRefused(f"partition {keys.partition}: {refused}; nothing was moved") from None
    moved = yield from in_each(list(places), lambda keys: _rewind(keys, group, places[keys], how))
    return [one for part in moved for one in part]


def switch_over(
    shadow: ShadowKeys, group: str, positions: dict[str, str], drop: str | None = None
) -> Flow[tuple[list[Moved], Switch]]:
    """Puts the read models of a shadow in the place of those in use, and the group where the shadow is: in one step.

    What the group had handled beyond `positions` it is given again, for the new read models. `drop`: read models with names
    like this pattern that the shadow has not made go too. Then the shadow is removed. Raises ReplayRefused if it made none.
    """
    [switch] = yield from _switches([shadow], drop)
    streams = yield from streams_of(Keys(shadow.namespace, shadow.partition), group)
    places = [Place(name, positions[name]) for name in streams if name in positions]
    moved = yield from _switch(shadow, group, places, switch)
    return moved, switch


def switch_everywhere(
    parts: Sequence[Rebuilt], group: str, first: str, drop: str | None = None
) -> Flow[list[Switch]]:
    """As switch_over(), in every partition; a read model is rebuilt if it was in any of them.

    So where the shadow had nothing to write to it, the part in use goes. In each partition it is one step; over all it is
    not. Raises PartlyDone if it was interrupted: run again, the shadow rebuilds what was switched over already, and all
    is switched over. Raises ReplayRefused if entries were trimmed that the shadow has not had, or if it made no read model.
    """
    switches = yield from _switches([part.shadow for part in parts], drop)
    todo = {part.shadow: (part, switch) for part, switch in zip(parts, switches, strict=True)}

    def work(keys: Keys) -> Flow[Switch]:
        part, switch = todo[keys.shadow(parts[0].shadow.shadow_name)]
        names = yield from _streams(keys, group)
        places = [
            Place(
                name, part.reached.get(name, just_before(first)), part.horizon if name in part.reached else ""
            )
            for name in names
        ]
        yield from _switch(part.shadow, group, places, switch)
        return switch

    return (yield from in_each([Keys(p.shadow.namespace, p.shadow.partition) for p in parts], work))


def _switches(shadows: Sequence[ShadowKeys], drop: str | None) -> Flow[list[Switch]]:
    """What takes whose place in each partition. Raises ReplayRefused if nothing does."""
    made = []
    for shadow in shadows:
        found = yield from scan(shadow.every_view(f"*@{shadow.shadow_name}"))
        made.append(found)
    rebuilt = {
        shadow.view_name(shadow.in_use(key))
        for shadow, found in zip(shadows, made, strict=True)
        for key in found
    }
    if not rebuilt:
        name = shadows[0].shadow_name
        raise ReplayRefused(f"shadow {name!r} has made no read model: nothing to switch over")
    switches = []
    for shadow, found in zip(shadows, made, strict=True):
        renamed = tuple((key, shadow.in_use(key)) for key in found)
        kept = {key for pair in renamed for key in pair}
        old = (yield from scan(shadow.every_view(drop))) if drop else []
        if len(shadows) > 1:
            old += [key for key in (yield from scan(shadow.every_view())) if shadow.view_name(key) in rebuilt]
        switches.append(Switch(renamed, tuple(dict.fromkeys(key for key in old if key not in kept))))
    return switches


def _switch(shadow: ShadowKeys, group: str, places: list[Place], switch: Switch) -> Flow[list[Moved]]:
    moved: list[Moved] = []
    if switch.renamed or switch.dropped:
        # What the shadow has left goes in the same step: found later without its read models, it would go on with none.
        left_over = yield from _left_over(shadow)
        keys = Keys(shadow.namespace, shadow.partition)
        moved = yield from _rewind(keys, group, places, How("done"), replace(switch, left_over=left_over))
    yield from discard(shadow)
    return moved


def discard(shadow: ShadowKeys) -> Flow[None]:
    """Removes what a shadow has left: copies, read models, bookkeeping; not its dead letters."""
    name = shadow.shadow_name
    views = yield from scan(shadow.every_view(f"*@{name}"))
    yield from raw("DEL", *views, *(yield from _left_over(shadow)))
    yield from raw("SREM", shadow.groups, name)


def _left_over(shadow: ShadowKeys) -> Flow[tuple[str, ...]]:
    name = shadow.shadow_name
    own = [shadow.checkpoint(name), shadow.failures(name), shadow.stats(name), shadow.replay(name)]
    own += [shadow.owner(name), shadow.free(name), shadow.parked(name)]
    return (*(yield from scan(shadow.stream("*"))), *own)


def streams_of(keys: Keys, group: str) -> Flow[list[str]]:
    """The event types whose streams the group reads. Raises ReplayRefused if there is none."""
    found = yield from _streams(keys, group)
    if not found:
        raise _no_group(group)
    return found


def check_group(partitions: Sequence[Keys], group: str) -> Flow[None]:
    """Raises ReplayRefused if no stream of any partition has the group."""
    for keys in partitions:
        if (yield from _streams(keys, group)):
            return
    raise _no_group(group)


def _streams(keys: Keys, group: str) -> Flow[list[str]]:
    names = [keys.event_type(key) for key in (yield from scan(keys.every_stream))]
    replies = yield from many([("XINFO", "GROUPS", keys.stream(name)) for name in names])
    return [
        name
        for name, rows in zip(names, replies, strict=True)
        if not isinstance(rows, ServerError) and any(pairs(row)["name"].decode() == group for row in rows)
    ]


def _no_group(group: str) -> ReplayRefused:
    return ReplayRefused(f"no stream has a group {group!r}; see busredis status")


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


def _back(names: Sequence[str], first: str) -> list[Place]:
    position = just_before(first)
    return [Place(name, position, position) for name in sorted(names)]


def _rewind(
    keys: Keys,
    group: str,
    places: Sequence[Place],
    how: How,
    switch: Switch = Switch(),
) -> Flow[list[Moved]]:
    touched = [keys.checkpoint(group), keys.replay(group), keys.failures(group), keys.trimmed]
    touched += [keys.stream(place.event_type) for place in places]
    touched += [*(key for pair in switch.renamed for key in pair), *switch.dropped, *switch.left_over]
    args: list[Arg] = [group, how.on_pending, int(how.with_side_effects), int(how.only_look)]
    args += (len(places), len(switch.renamed))
    for place in places:
        args += (place.event_type, place.position, place.had)
    try:
        reply = yield from script("rewind", touched, args)
    except CommandRefused as error:
        raise _refused(group, str(error), how.on_pending) from None
    return [
        Moved(place.event_type, keys.shown(place.position), keys.shown(was.decode()))
        for place, was in zip(places, reply, strict=True)
        if parse_id(place.position) < parse_id(was.decode())
    ]


def _refused(group: str, message: str, on_pending: str) -> Exception:
    word, _, rest = message.partition(" ")
    if word == "PENDING":
        return ReplayRefused(
            f"{group} has {rest} pending or waiting entries there, which were never handled: let its daemons finish, or "
            "replay them like all others (--pending again), or use a shadow"
        )
    if word == "TRIMMED" and on_pending == "done":
        return ReplayRefused(
            f"entries of {rest.replace(' ', ' up to ')} were trimmed that the shadow has not had yet: the same command again "
            "goes on with them, from the archive (without --to, or with one beyond them)"
        )
    if word == "TRIMMED":
        return ReplayRefused(
            f"entries of {rest.replace(' ', ' up to ')} were trimmed from Redis, so that a group cannot be moved back "
            "to them: a shadow (--shadow NAME) reads the archive too"
        )
    return CommandRefused(message)
