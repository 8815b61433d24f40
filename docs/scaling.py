"""The arithmetic of docs/scaling.md with your numbers: python docs/scaling.py --rate 50000 --bytes 400 --days 3."""

import argparse
import math
from dataclasses import dataclass

#: What was measured, and how much of it to plan for.
REFERENCE_BYTES = 45
PLANNED_SHARE = 0.5
PARTITIONS_PER_NODE = 8


@dataclass(frozen=True)
class Load:
    """Events a second, bytes of one in a stream, days that they are kept in Redis, groups that handle each."""

    rate: float
    bytes: int
    days: float
    groups: int


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
    return Plan(masters, partitions, memory, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20_000, help="events a second at the peak")
    parser.add_argument(
        "--bytes", type=int, default=400, help="bytes of an event in its stream (busredis status)"
    )
    parser.add_argument("--days", type=float, default=1, help="days that events are kept in Redis")
    parser.add_argument("--groups", type=int, default=3, help="groups that handle each event, on average")
    parser.add_argument(
        "--appends", type=float, default=80_000, help="appends a second of one server (make bench)"
    )
    parser.add_argument("--deliveries", type=float, default=80_000, help="deliveries a second of one server")
    parser.add_argument("--memory", type=float, default=32, help="GiB of one master that streams may take")
    given = parser.parse_args()
    load = Load(given.rate, given.bytes, given.days, given.groups)
    found = plan(load, Node(given.appends, given.deliveries, given.memory * 2**30))
    print(f"work      {found.work:8.2f} servers at full speed")
    print(
        f"memory    {found.memory / 2**30:8.1f} GiB at the peak rate all day, and as much again for each replica"
    )
    print(f"masters   {found.masters:8d} at {PLANNED_SHARE:.0%} of their speed, each with a replica or more")
    print(f"partitions{found.partitions:8d}")


if __name__ == "__main__":
    main()
