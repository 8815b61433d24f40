"""doctor: what server is in use, and what of it endangers events."""

import platform
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal

import typer

from busredis import doctor as examination
from busredis.cli.options import Json, Namespace, Url, print_json, print_table, say
from busredis.client import Client
from busredis.doctor import OPTIONAL, Extra, Node, Problem
from busredis.keys import Keys
from busredis.location import server_url
from busredis.settings import Settings
from busredis.url import parse_servers

_KINDS = {"one": "one server", "cluster": "cluster", "sentinel": "found by sentinels"}


def doctor(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """Say what server is in use, and what endangers events.

    Such as that it evicts, or forgets at a restart; what may come of it, and what to do. Changes nothing. Exit code 1 if
    events are in danger, 0 if not.
    """
    settings = Settings.load(url=url, namespace=namespace)
    server = server_url(settings)
    with closing(Client(server)) as client:
        facts, problems = _examine(client, settings, parse_servers(server).kind)
    if json:
        print_json({**facts, "problems": [asdict(problem) for problem in problems]})
    else:
        _show(facts, problems)
    if any(problem.danger for problem in problems):
        raise typer.Exit(1)


def _examine(
    client: Client, settings: Settings, kind: Literal["one", "cluster", "sentinel"]
) -> tuple[dict[str, Any], list[Problem]]:
    recorded = client.run(examination.recorded_partitions(settings.namespace))
    masters = client.masters()
    keys = Keys(settings.namespace, None if recorded in (None, 1) else 0)
    options = client.run(examination.try_options(keys))
    nodes, problems = [], []
    for address, of_node in masters.items():
        node = of_node.run(examination.read_node(address))
        node.optional |= options
        examination.measure(of_node, node)
        nodes.append(node)
        problems += examination.judge(node)
    problems += examination.judge_setup(settings, kind, recorded, nodes)
    python, redis_py = platform.python_version(), version("redis")
    return {
        "url": client.shown,
        "kind": kind,
        "namespace": settings.namespace,
        "partitions": recorded,
        "resp": 2,
        "durability": settings.durability,
        "nodes": nodes,
        "extras": examination.find_extras(),
        "versions": {"busredis": version("busredis"), "Python": python, "redis-py": redis_py},
    }, problems


def _show(facts: dict[str, Any], problems: list[Problem]) -> None:
    nodes: list[Node] = facts["nodes"]
    count = facts["partitions"]
    _fact("server", f"{facts['url']}, {_KINDS[facts['kind']]}")
    if len(nodes) == 1:
        _show_node(nodes[0])
    else:
        _show_nodes(nodes)
    _fact("namespace", f"{facts['namespace']}, {f'{count} partition(s)' if count else 'not used yet'}")
    refused = sorted({node.fsync_refused for node in nodes} - {""})
    _fact("durability", f"{facts['durability']}; fsync {'can be had' if not refused else 'is refused here'}")
    for why in refused:
        _fact("", why)
    _fact("protocol", "RESP2, which busredis speaks to every server")
    there = {name: all(node.optional[name] for node in nodes) for name in OPTIONAL}
    for name, use in OPTIONAL.items():
        if use:
            _fact("commands", f"{name}: {_there(there[name])}; {_used(use, there[name], refused)}")
    unused = [f"{name} {_there(there[name])}" for name, use in OPTIONAL.items() if not use]
    _fact("", f"not used by busredis: {', '.join(unused)}")
    for extra in facts["extras"]:
        _fact("extra", _extra(extra))
    _fact("versions", ", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
    say("")
    for problem in sorted(problems, key=lambda problem: not problem.danger):
        say(f"{'DANGER' if problem.danger else 'advice'}: {problem}")
    if not problems:
        say("all is well")


def _show_node(node: Node) -> None:
    _fact("", f"{node.kind or 'unknown'} {node.version} at {node.address}, {node.role or 'role unknown'}")
    _fact("persistence", f"append-only file {_known(node.aof)}, appendfsync {_known(node.appendfsync)}")
    most = f"of {node.maxmemory:,}" if node.maxmemory else "with no maxmemory"
    _fact("memory", f"{node.used_memory:,} bytes {most}, maxmemory-policy {_known(node.policy)}")
    _fact(
        "replicas",
        f"{node.replicas}" + (f", {node.replicas_behind} not in step" if node.replicas_behind else ""),
    )
    _fact("clock", f"{_skew(node)} (to within {node.skew_within * 1000:,.1f} ms)")
    _fact("round trip", f"{node.latency_ms:,.2f} ms, the slowest {node.slowest_ms:,.2f} ms")


def _show_nodes(nodes: list[Node]) -> None:
    columns = [
        "node",
        "server",
        "append-only file",
        "appendfsync",
        "maxmemory-policy",
        "replicas",
        "round trip",
        "clock",
    ]
    rows: list[list[object]] = [
        [
            *(node.address, f"{node.kind} {node.version}", _known(node.aof), _known(node.appendfsync)),
            *(_known(node.policy), node.replicas, f"{node.latency_ms:,.2f} ms", _skew(node)),
        ]
        for node in nodes
    ]
    print_table(f"{len(nodes)} master(s)", columns, rows)


def _skew(node: Node) -> str:
    return f"{abs(node.skew) * 1000:,.1f} ms {'ahead of' if node.skew > 0 else 'behind'} this machine"


def _extra(extra: Extra) -> str:
    if extra.version is None:
        return f"{extra.package}: not installed; for {extra.use}, by the extra {extra.extra!r}"
    return f"{extra.package} {extra.version}, for {extra.use}"


def _there(is_there: bool) -> str:
    return "there" if is_there else "not there"


def _used(use: str, is_there: bool, refused: list[str]) -> str:
    if is_there and not refused:
        return f"used for {use}"
    return f"not used (it would be for {use})"


def _known(fact: str) -> str:
    return "unknown" if fact in ("", examination.UNKNOWN) else fact


def _fact(name: str, text: str) -> None:
    say(f"{name:<12} {text}")
