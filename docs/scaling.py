"""The arithmetic of docs/scaling.md with your numbers: python docs/scaling.py --rate 50000 --bytes 400 --days 3."""

import argparse
import math
import sys
from dataclasses import dataclass

#: What was measured, and how much of it to plan for.
REFERENCE_BYTES = 45
PLANNED_SHARE = 0.5
PARTITIONS_PER_NODE = 8
MOST_PARTITIONS = 1_024


@dataclass(frozen=True)
class Load:
    """Events a second, bytes of one in a stream, days that they are kept in Redis, groups that handle each."""

    rate: float
    bytes: int
    days: float
    groups: float


@dataclass(frozen=True)
class Node:
    """What one master can do: appends and deliveries a second, each alone, and bytes for streams."""

    appends: float
    deliveries: float
    memory: float


@dataclass(frozen=True)
class Plan:
    masters: int
    partitions: int
    memory: float
    work: float


def plan(load: Load, node: Node) -> Plan:
    """How many masters the load needs, by work and by memory, and how many partitions to begin with."""
    # A server has one thread for commands: what it spends on appends it cannot spend on deliveries.
    work = load.rate / node.appends + load.rate * load.groups / node.deliveries
    memory = load.rate * 86_400 * load.days * (load.bytes + REFERENCE_BYTES)
    masters = max(1, math.ceil(work / PLANNED_SHARE), math.ceil(memory / node.memory))
    partitions = 1 if masters == 1 else 2 ** math.ceil(math.log2(masters * PARTITIONS_PER_NODE))
    return Plan(masters, min(partitions, MOST_PARTITIONS), memory, work)


#: A million microseconds, by what an event costs the servers of a cluster at most: the tables of docs/scaling.md, rounded down.
APPENDS, DELIVERIES = 100_000, 80_000


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def whole(text: str) -> int:
    """A whole number above 0."""
    number = positive(text)
    if number != int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(number)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--rate", type=positive, default=20_000, help="events a second at the peak")
    add("--bytes", type=whole, default=400, help="bytes of an event in its stream (busredis status)")
    add("--days", type=positive, default=1, help="days that events are kept in Redis")
    add("--groups", type=positive, default=3, help="groups that handle each event, on average")
    add("--appends", type=positive, default=APPENDS, help="appends a second of one server (bench scaling)")
    add("--deliveries", type=positive, default=DELIVERIES, help="deliveries a second of one server")
    add("--memory", type=positive, default=32, help="GiB of one master that streams may take")
    return parser


def main() -> None:
    given = options().parse_args()
    load = Load(given.rate, given.bytes, given.days, given.groups)
    found = plan(load, Node(given.appends, given.deliveries, given.memory * 2**30))
    print(f"work      {found.work:8.2f} servers at full speed")
    print(
        f"memory    {found.memory / 2**30:8.1f} GiB at the peak rate all day, and as much again for each replica"
    )
    print(f"masters   {found.masters:8d} at {PLANNED_SHARE:.0%} of their speed, each with a replica or more")
    print(f"partitions{found.partitions:8d}")
    if found.masters > MOST_PARTITIONS:
        sys.exit(
            f"a namespace has at most {MOST_PARTITIONS} partitions: divide the events among several of them"
        )


if __name__ == "__main__":
    main()
