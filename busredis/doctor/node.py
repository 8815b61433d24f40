"""The facts of a server.

What a server can do is asked from it, by COMMAND INFO or by trying what changes nothing; never told from its version.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from busredis.client import Client
from busredis.commands import Arg, Flow, many, raw, text
from busredis.durability import syncs_before_it_answers
from busredis.errors import GroupMissing, PublishRefused, ServerError, ServerUnavailable
from busredis.keys import Keys

#: What busredis' scripts and modules send; a server may have it renamed or forbidden.
_NEEDED = (
    "EVAL EVALSHA TIME SCAN TYPE EXISTS DEL RENAME PTTL GET SET HDEL HEXISTS HGET HGETALL HLEN HMGET HSET LINDEX LLEN LRANGE "
    "RPUSH SADD SMEMBERS SREM XACK XADD XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM "
    "ZADD ZCARD ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZREM ZREMRANGEBYLEX ZSCORE"
)
NEEDED = tuple(_NEEDED.split())
#: What a server said of a setting that it does not tell.
UNKNOWN = "?"
#: What some servers have: by name, what busredis does with it ("" if nothing).
OPTIONAL: dict[str, str] = {
    "WAITAOF": 'durability="fsync" where appendfsync is not always',
    "XACKDEL": "",
    "XDELEX": "",
    "XNACK": "",
    "XREADGROUP CLAIM": "",
    "XADD IDMP": "",
}


@dataclass
class Node:
    """One server as it says that it is; "" or UNKNOWN where it does not say."""

    address: str
    kind: str = ""
    version: str = ""
    role: str = ""
    replicas: int = 0
    replicas_behind: int = 0
    aof: str = ""
    appendfsync: str = ""
    rdb: str = ""
    writes_ok: bool = True
    #: Why it cannot give `durability="fsync"`; "" if it can.
    fsync_refused: str = ""
    policy: str = ""
    maxmemory: int = 0
    used_memory: int = 0
    cluster_state: str = ""
    has_resp3: bool = False
    missing: list[str] = field(default_factory=list)
    optional: dict[str, bool] = field(default_factory=dict)
    #: By how many seconds the server's clock is ahead of the client's, and how sure that is (half a round trip).
    skew: float = 0.0
    skew_within: float = 0.0
    #: Of one round trip, in milliseconds.
    latency_ms: float = 0.0
    slowest_ms: float = 0.0


def read_node(address: str) -> Flow[Node]:
    """The facts of the server that answers; what it refuses to tell stays empty.

    Raises ServerError if it does not answer, or cannot now.
    """
    names = [*NEEDED, *(name for name in OPTIONAL if " " not in name), "HELLO"]
    info, sync, save, cluster, known = yield from many(
        [
            ("INFO",),
            ("CONFIG", "GET", "appendfsync"),
            ("CONFIG", "GET", "save"),
            ("CLUSTER", "INFO"),
            ("COMMAND", "INFO", *names),
        ]
    )
    if isinstance(info, ServerUnavailable):
        raise info
    node = _node(address, _lines(info))
    node.appendfsync, node.rdb = _setting(sync), _setting(save)
    node.cluster_state = _lines(cluster).get("cluster_state", "")
    # A server that does not let itself be asked is not said to lack anything.
    there = (
        set(names) if isinstance(known, ServerError) else {n for n, r in zip(names, known, strict=True) if r}
    )
    node.missing = [name for name in NEEDED if name not in there]
    node.has_resp3 = "HELLO" in there
    node.optional = {name: name in there for name in OPTIONAL if name in names}
    try:
        yield from syncs_before_it_answers()
    except PublishRefused as error:
        node.fsync_refused = str(error).partition("; nothing was written")[0]
    return node


def try_options(keys: Keys) -> Flow[dict[str, bool]]:
    """Options of commands, of which COMMAND INFO does not tell: tried on a key that is not there, so that nothing is done."""
    nowhere = keys.once("doctor-asks-where-nothing-is")
    trials: list[tuple[Arg, ...]] = [
        ("XREADGROUP", "GROUP", "doctor", "doctor", "CLAIM", 1, "STREAMS", nowhere, ">"),
        ("XADD", nowhere, "NOMKSTREAM", "IDMP", "doctor", "1", "*", "doctor", "1"),
    ]
    claim, idmp = yield from many(trials)
    # Who does not know CLAIM answers that the syntax is wrong, and who does that there is no such group.
    return {
        "XREADGROUP CLAIM": isinstance(claim, GroupMissing),
        "XADD IDMP": not isinstance(idmp, ServerError),
    }


def _node(address: str, info: dict[str, str]) -> Node:
    kind = "valkey" if "valkey_version" in info else "redis" if info else ""
    replicas = [value for name, value in info.items() if name.startswith("slave") and "state=" in value]
    return Node(
        address,
        kind=kind,
        version=info.get(f"{kind}_version", ""),
        role=info.get("role", ""),
        replicas=int(info.get("connected_slaves", 0)),
        replicas_behind=sum("state=online" not in one for one in replicas),
        aof={"1": "on", "0": "off"}.get(info.get("aof_enabled", ""), ""),
        writes_ok="err" not in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")),
        policy=info.get("maxmemory_policy", ""),
        maxmemory=int(info.get("maxmemory", 0)),
        used_memory=int(info.get("used_memory", 0)),
    )


def measure(client: Client, node: Node, times: int = 20) -> None:
    """Notes in `node` how long round trips take, and how far the server's clock is ahead of this one."""
    took, ahead = [], []
    for _ in range(times):
        before, began = time.time(), time.monotonic()
        seconds, micros = client.run(iter(raw("TIME")))
        took.append(time.monotonic() - began)
        ahead.append(int(seconds) + int(micros) / 1e6 - before - took[-1] / 2)
    fastest = min(range(times), key=took.__getitem__)
    node.skew, node.skew_within = ahead[fastest], took[fastest] / 2
    node.latency_ms, node.slowest_ms = statistics.median(took) * 1000, max(took) * 1000


def _lines(reply: object) -> dict[str, str]:
    if not isinstance(reply, bytes):
        return {}
    lines = text(reply).splitlines()
    return {name: value for name, mark, value in (line.partition(":") for line in lines) if mark}


def _setting(reply: Sequence[bytes] | ServerError) -> str:
    """The value of CONFIG GET; UNKNOWN if the server does not say."""
    return UNKNOWN if isinstance(reply, ServerError) or not reply else text(reply[-1])
