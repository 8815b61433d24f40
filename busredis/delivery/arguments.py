"""Deliveries as arguments of the scripts that settle and renew many at once."""

from collections.abc import Sequence

from busredis.commands import Arg
from busredis.delivery.model import Delivery


def by_attempt(deliveries: Sequence[Delivery], first: int) -> tuple[list[str], list[Arg]]:
    """The streams, and for each stream and attempt: its index in KEYS, the attempt, how many, the ids.

    `first` is the index of the first stream.
    """
    ids: dict[tuple[str, int], list[bytes]] = {}
    known, found = None, []
    for delivery in deliveries:
        place = delivery.stream, delivery.attempt
        if place != known:
            known, found = place, ids.setdefault(place, [])
        found.append(delivery.id)
    streams: dict[str, int] = {}
    args: list[Arg] = []
    for (stream, attempt), found in ids.items():
        args += (streams.setdefault(stream, first + len(streams)), attempt, len(found), *found)
    return list(streams), args


def by_stream(deliveries: Sequence[Delivery]) -> tuple[list[str], list[Arg]]:
    """The streams, and for each of them: how many, then id and attempt of each."""
    streams: dict[str, list[Arg]] = {}
    for delivery in deliveries:
        held = streams.get(delivery.stream)
        if held is None:
            held = streams[delivery.stream] = []
        held += (delivery.id, delivery.attempt)
    args: list[Arg] = []
    for held in streams.values():
        args.append(len(held) // 2)
        args += held
    return list(streams), args
