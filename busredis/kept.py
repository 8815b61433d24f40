"""Retention over all partitions: what is set and kept, setting it, and trimming now."""

from collections.abc import Sequence
from dataclasses import dataclass

from busredis.commands import Flow, raw
from busredis.keys import Keys
from busredis.partitions import in_each
from busredis.retention import (
    EVERY_TYPE,
    Policies,
    Retention,
    Trimmed,
    agreed,
    find_policies,
    known_types,
    pinned_by,
    plan,
    server_ms,
    set_retention,
    trim,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a type: how long, how many entries there are, and why entries stay beyond it (see Trimmed)."""

    event_type: str
    retention: str
    entries: int
    pinned_by: str


def find_kept(partitions: Sequence[Keys]) -> Flow[list[Kept]]:
    """What is kept of every type that has a stream or is named, by name, in all partitions together."""
    now_ms, policies = (yield from server_ms()), list[Policies]()
    for keys in partitions:
        policies.append((yield from find_policies(keys)))
    names: set[str] = set()
    for keys, found in zip(partitions, policies, strict=True):
        names |= {*(yield from known_types(keys, found))}
    rows = []
    for name in sorted(names):
        entries, pin = 0, ""
        for keys, found in zip(partitions, policies, strict=True):
            entries += yield from raw("XLEN", keys.stream(name))
            pin = pin or (yield from pinned_by(keys, found, name, now_ms))
        rows.append(Kept(name, agreed(found.text(name) for found in policies), entries, pin))
    if any(EVERY_TYPE in found.by_type for found in policies):
        rows.insert(0, Kept(EVERY_TYPE, agreed(found.text(EVERY_TYPE) for found in policies), 0, ""))
    return rows


def set_everywhere(partitions: Sequence[Keys], event_type: str, retention: Retention) -> Flow[None]:
    """Sets it in every partition. Raises PartlyDone, with the partitions where it holds; setting it again finishes it."""
    yield from in_each(partitions, lambda keys: set_retention(keys, event_type, retention))


def apply_everywhere(partitions: Sequence[Keys]) -> Flow[dict[str, Trimmed]]:
    """Trims in every partition what may go there; what became of each type. Raises PartlyDone."""
    parts = yield from in_each(partitions, _apply)
    return joined(parts)


def _apply(keys: Keys) -> Flow[dict[str, Trimmed]]:
    found = {}
    for name, limits in (yield from plan(keys)).items():
        found[name] = yield from trim(keys, name, limits)
    return found


def joined(parts: Sequence[dict[str, Trimmed]]) -> dict[str, Trimmed]:
    """What became of each type in all partitions together."""
    found: dict[str, Trimmed] = {}
    for part in parts:
        for name, trimmed in part.items():
            known = found.get(name, Trimmed(0))
            found[name] = Trimmed(known.removed + trimmed.removed, known.pinned_by or trimmed.pinned_by)
    return dict(sorted(found.items()))
