"""Entry layouts: bytes an event, events/s appended, events/s read and decoded into the event class."""

import statistics
import time

import orjson
import redis

from bench.publish import event
from busredis.catalog import ActionEvaluatedEvent

_COUNT, _BATCH = 20_000, 500
_APPEND = """
local width, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 3, #ARGV, width do
  redis.call('XADD', KEYS[1], '1-' .. seq, unpack(ARGV, i, i + width - 1))
  seq = seq + 1
end
"""


def _one_field(e: ActionEvaluatedEvent) -> list[bytes | str]:
    return ["event", e.to_json()]


def _with_nulls(e: ActionEvaluatedEvent) -> list[bytes | str]:
    return ["event", orjson.dumps(e.to_dict())]


def _two_fields(e: ActionEvaluatedEvent) -> list[bytes | str]:
    data = orjson.loads(e.to_json())
    payload = data.pop("payload")
    return ["meta", orjson.dumps(data), "payload", orjson.dumps(payload)]


def _separate(e: ActionEvaluatedEvent) -> list[bytes | str]:
    data = e.to_dict()
    payload = data.pop("payload")
    flat = [part for name, value in data.items() for part in (name, "" if value is None else str(value))]
    return [*flat, "payload", orjson.dumps(payload)]


def _read_one(fields: dict[bytes, bytes]) -> ActionEvaluatedEvent:
    return ActionEvaluatedEvent.from_json(fields[b"event"])


def _read_two(fields: dict[bytes, bytes]) -> ActionEvaluatedEvent:
    return ActionEvaluatedEvent.from_json(fields[b"meta"][:-1] + b',"payload":' + fields[b"payload"] + b"}")


def _read_separate(fields: dict[bytes, bytes]) -> ActionEvaluatedEvent:
    data = {name.decode(): value.decode() or None for name, value in fields.items() if name != b"payload"}
    data["event_version"] = int(data["event_version"])
    return ActionEvaluatedEvent.from_json(orjson.dumps({**data, "payload": orjson.loads(fields[b"payload"])}))


LAYOUTS = {
    "one field: JSON without what is not set": (_one_field, _read_one),
    "one field: JSON with nulls": (_with_nulls, _read_one),
    "two fields: metadata JSON, payload JSON": (_two_fields, _read_two),
    "separate fields, payload JSON": (_separate, _read_separate),
}


def run(url: str) -> None:
    client = redis.Redis.from_url(url)
    sha = client.script_load(_APPEND)
    events = [event(number) for number in range(_COUNT)]
    print(f"{'bytes/event':>11} {'appended/s':>11} {'decoded/s':>10}  layout")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LAYOUTS}
    for _ in range(3):
        for name, (write, read) in LAYOUTS.items():
            found[name].append(_measure(client, sha, events, write, read))
    for name, rows in found.items():
        size, appended, decoded = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{size:11,.0f} {appended:11,.0f} {decoded:10,.0f}  {name}")
    print()


def _measure(client, sha, events, write, read) -> tuple[float, float, float]:
    started = time.perf_counter()
    for start in range(0, _COUNT, _BATCH):
        rows = [write(one) for one in events[start : start + _BATCH]]
        client.evalsha(sha, 1, "layout", len(rows[0]), start + 1, *[part for row in rows for part in row])
    appended = time.perf_counter() - started
    size = client.memory_usage("layout", samples=0)
    started = time.perf_counter()
    last = "-"
    seen = 0
    while entries := client.xrange("layout", last, "+", count=512):
        for _, fields in entries:
            read(fields)
        seen += len(entries)
        last = b"(" + entries[-1][0]
    decoded = time.perf_counter() - started
    assert seen == _COUNT
    client.delete("layout")
    return size / _COUNT, _COUNT / appended, _COUNT / decoded
