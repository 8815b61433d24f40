"""The end of a run: everything finishes, then it is read what the server holds."""

import signal
from collections.abc import Iterator
from typing import Any

import orjson
import redis

from busredis.keys import parse_id
from faults.events import GROUPS, effects_key
from faults.report import Dead, Found
from faults.stage import KEYS, STREAM, Stage
from tests.waiting import wait_until

#: Publishers and daemons have so long to finish after the last fault.
PATIENCE_S = 60.0
_PAGE = 5_000


def finish(stage: Stage) -> Found:
    """Waits for publishers and daemons to finish and stops the daemons; what the server holds then."""
    wait_until(lambda: not stage.publishes(), "the publishers are done", stage.setting.seconds + PATIENCE_S)
    with stage.client() as client:
        try:
            wait_until(lambda: not any(unfinished(client, name) for name in GROUPS), "drained", PATIENCE_S)
        except AssertionError:
            stage.notes.append("not drained in time")  # the checker names what is left
        stage.wait_for_daemons()
        for daemon in stage.daemons:
            daemon.send_signal(signal.SIGTERM)
        stage.codes += [daemon.wait(timeout=30) for daemon in stage.daemons]
        stage.codes += [process.returncode for _, process in stage.publishers.values()]
        entries = [(entry_id.decode(), _number(fields)) for entry_id, fields in _pages(client, STREAM)]
        dead = [letter for name in GROUPS for letter in _dead(client, name)]
        left = {name: unfinished(client, name) for name in GROUPS}
        effects = {
            name: {
                int(number): int(count) for number, count in client.hgetall(effects_key(KEYS, name)).items()
            }
            for name in GROUPS
        }
    return Found(entries, dead, left, effects)


def unfinished(client: redis.Redis, group: str) -> set[str]:
    """Ids that this group has not read, or not settled; at most a page of them."""
    if not client.exists(STREAM):
        return set()
    groups = {info["name"].decode(): info for info in client.xinfo_groups(STREAM)}
    if group not in groups:
        return {"the whole group is missing"}
    last = groups[group]["last-delivered-id"].decode()
    unread = client.xrange(STREAM, f"({last}", "+", count=_PAGE) if _is_behind(client, last) else []
    pending = client.xpending_range(STREAM, group, "-", "+", _PAGE) if groups[group]["pending"] else []
    return {entry_id.decode() for entry_id, _ in unread} | {row["message_id"].decode() for row in pending}


def _is_behind(client: redis.Redis, last: str) -> bool:
    newest = client.xrevrange(STREAM, count=1)
    return bool(newest) and parse_id(newest[0][0].decode()) > parse_id(last)


def _dead(client: redis.Redis, group: str) -> Iterator[Dead]:
    for _, fields in _pages(client, KEYS.dead(group)):
        number = _number({b"event": fields[b"entry:event"]}) if b"entry:event" in fields else -1
        yield Dead(group, number, fields[b"entry_id"].decode(), fields[b"reason"].decode())


def _number(fields: dict[bytes, bytes]) -> int:
    number: int = orjson.loads(fields[b"event"])["payload"]["number"]
    return number


def _pages(client: redis.Redis, key: str) -> Iterator[tuple[bytes, dict[bytes, Any]]]:
    start = "-"
    while page := client.xrange(key, start, "+", count=_PAGE):
        yield from page
        start = f"({page[-1][0].decode()}"
