"""What of a server endangers events: judgements on its facts."""

from dataclasses import dataclass

from busredis.doctor.node import UNKNOWN, Node

#: Of maxmemory, from which on it is told.
_NEARLY_FULL = 0.9
#: Seconds by which clocks may differ before it is told.
_SKEW = 1.0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in three clauses. `danger`: events can be lost, or nothing can work."""

    what: str
    may: str
    do: str
    danger: bool = True

    def __str__(self) -> str:
        return f"{self.what}; {self.may}; {self.do}"


def judge(node: Node) -> list[Problem]:
    """What is wrong with a node, the worst first."""
    checks = (_missing, _evicts, _forgets, _syncs_late, _cannot_write, _cluster, _is_replica)
    slighter = (_is_full, _replicas, _clock, _says_nothing)
    return [problem for check in (*checks, *slighter) if (problem := check(node)) is not None]


def _missing(node: Node) -> Problem | None:
    if not node.missing:
        return None
    return Problem(
        f"{node.address} has no {', '.join(node.missing)}",
        "publishers, daemons and commands that need them fail",
        "use Redis 6.2 or Valkey 7.2 or later, and rename or forbid none of them",
    )


def _evicts(node: Node) -> Problem | None:
    if node.policy in ("noeviction", ""):
        return None
    now = "" if node.maxmemory else " (as soon as a maxmemory is set, which is not now)"
    lost = "whole streams of events" if node.policy.startswith("allkeys") else "keys with a time to live"
    return Problem(
        f"{node.address} has maxmemory-policy {node.policy}",
        f"when its memory is full it deletes {lost}, unasked and without a word{now}",
        "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    )


def _forgets(node: Node) -> Problem | None:
    if node.aof != "off":
        return None
    if node.rdb == UNKNOWN:
        may = "a restart or a crash loses every event since its last snapshot on disk, if it makes any"
    elif node.rdb:
        may = f"a crash loses every event since its last snapshot on disk (save {node.rdb})"
    else:
        may = "a restart or a crash loses every event, for it writes nothing to disk"
    return Problem(
        f"{node.address} has no append-only file (appendonly no)",
        may,
        "CONFIG SET appendonly yes, and the same in its configuration file",
    )


def _syncs_late(node: Node) -> Problem | None:
    if node.aof != "on" or node.appendfsync != "no":
        return None
    return Problem(
        f"{node.address} has appendfsync no",
        "when its machine loses power, about the last half minute of confirmed events is lost",
        "CONFIG SET appendfsync everysec (loses a second or two) or always, and the same in its configuration file",
    )


def _cannot_write(node: Node) -> Problem | None:
    if node.writes_ok:
        return None
    return Problem(
        f"{node.address} could not write to its disk the last time",
        "it refuses what is published (MISCONF), or a crash loses it",
        "look at the server's log: is the disk full, or its folder not its own?",
    )


def _cluster(node: Node) -> Problem | None:
    if node.cluster_state in ("ok", ""):
        return None
    return Problem(
        f"the cluster is not whole, says {node.address} (cluster_state {node.cluster_state})",
        "what belongs to the partitions of a lost node can be neither published nor handled",
        "see CLUSTER NODES: start the node that is down, or give its slots to others",
    )


def _is_replica(node: Node) -> Problem | None:
    if node.role not in ("slave", "replica"):
        return None
    return Problem(
        f"{node.address} is a replica",
        "it refuses everything that is published or acknowledged (READONLY)",
        "name the master in the URL, or let sentinels find it: redis+sentinel://HOST,HOST/NAME",
    )


def _is_full(node: Node) -> Problem | None:
    if not node.maxmemory or node.used_memory < _NEARLY_FULL * node.maxmemory:
        return None
    return Problem(
        f"{node.address} uses {node.used_memory / node.maxmemory:.0%} of its maxmemory",
        "when it is full it refuses what is published (OOM); nothing that it has is lost",
        "raise maxmemory, or let entries go: busredis retention, busredis archive",
        danger=False,
    )


def _replicas(node: Node) -> Problem | None:
    if not node.replicas_behind:
        return None
    return Problem(
        f"{node.replicas_behind} of {node.replicas} replica(s) of {node.address} are not in step",
        "a failover now loses what they do not have",
        "see INFO replication",
        danger=False,
    )


def _clock(node: Node) -> Problem | None:
    if abs(node.skew) - node.skew_within < _SKEW:
        return None
    direction = "ahead of" if node.skew > 0 else "behind"
    return Problem(
        f"the clock of {node.address} is {abs(node.skew):,.1f} s {direction} that of this machine",
        "ids, schedules and ages go by the server's: events seem to come from another time, no order is lost",
        "let NTP set both",
        danger=False,
    )


def _says_nothing(node: Node) -> Problem | None:
    if node.kind:
        return None
    return Problem(
        f"{node.address} does not answer INFO",
        "whether it evicts, or forgets at a restart, is not known",
        "allow it to this user: ACL SETUSER NAME +info +config|get",
        danger=False,
    )
