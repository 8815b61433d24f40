"""Between entries of a stream and columns: what comes back is byte for byte what went in.

A row has the metadata of the event and its payload as JSON text. An entry that these columns do not give back exactly
(one of another program, one that is no event) keeps all its fields in `fields` beside them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from busredis.codec import FIELD, with_defaults
from busredis.cold.extra import need
from busredis.events.fields import METADATA
from busredis.keys import parse_id

Entry = tuple[str, list[bytes]]

_TEXTS = (
    "event_id",
    "aggregate_id",
    "aggregate_type",
    "correlation_id",
    "causation_id",
    "user_id",
    "traceparent",
)
_SPLICED = b'{"aggregate_version":'
#: Dictionaries pay for what repeats; ids and payloads do not.
DICTIONARY = ("event_type", "aggregate_type", "aggregate_id", "user_id")
ENCODINGS = {
    "entry_id": "DELTA_BYTE_ARRAY",
    "ms": "DELTA_BINARY_PACKED",
    "seq": "DELTA_BINARY_PACKED",
    "recorded_at": "DELTA_BINARY_PACKED",
    "occurred_at": "DELTA_BINARY_PACKED",
    "aggregate_version": "DELTA_BINARY_PACKED",
    "event_id": "DELTA_BYTE_ARRAY",
}
_LAST_MS = 253_402_300_799_000


def schema() -> Any:
    """The columns of every file."""
    pa = need("pyarrow")
    pair = pa.struct([("name", pa.binary()), ("value", pa.binary())])
    return pa.schema(
        [
            ("entry_id", pa.string()),
            ("ms", pa.uint64()),
            ("seq", pa.uint64()),
            ("recorded_at", pa.timestamp("ms", "UTC")),
            ("event_id", pa.string()),
            ("event_type", pa.string()),
            ("event_version", pa.int64()),
            ("occurred_at", pa.timestamp("us", "UTC")),
            ("aggregate_id", pa.string()),
            ("aggregate_type", pa.string()),
            ("aggregate_version", pa.int64()),
            ("correlation_id", pa.string()),
            ("causation_id", pa.string()),
            ("user_id", pa.string()),
            ("traceparent", pa.string()),
            ("payload", pa.string()),
            ("version_first", pa.bool_()),
            ("fields", pa.list_(pair)),
        ]
    )


def to_batch(event_type: str, entries: Sequence[Entry]) -> Any:
    """Entries of one type as a record batch."""
    pa = need("pyarrow")
    raws = [fields[1] if len(fields) == 2 and fields[0] == FIELD else None for _, fields in entries]
    documents = [_document(event_type, entry_id, fields) for entry_id, fields in entries]
    ids = [parse_id(entry_id) for entry_id, _ in entries]
    columns: dict[str, Any] = {
        "entry_id": pa.array([entry_id for entry_id, _ in entries], pa.string()),
        "ms": pa.array([ms for ms, _ in ids], pa.uint64()),
        "seq": pa.array([seq for _, seq in ids], pa.uint64()),
        "recorded_at": pa.array([min(ms, _LAST_MS) for ms, _ in ids], pa.timestamp("ms", "UTC")),
        "event_type": pa.array([event_type] * len(entries), pa.string()),
        "occurred_at": _times([document.get("occurred_at") for document in documents]),
        "payload": pa.array([_payload(d, raw) for d, raw in zip(documents, raws, strict=True)], pa.string()),
        "version_first": pa.array([raw is not None and raw.startswith(_SPLICED) for raw in raws], pa.bool_()),
    }
    for name in _TEXTS:
        columns[name] = _typed([document.get(name) for document in documents], pa.string(), str)
    for name in ("event_version", "aggregate_version"):
        columns[name] = _typed([document.get(name) for document in documents], pa.int64(), int)
    same = _json(columns).equals_each(raws)
    columns["fields"] = pa.array(
        [None if same[n] else _pairs(fields) for n, (_, fields) in enumerate(entries)],
        schema().field("fields").type,
    )
    return pa.record_batch([columns[name] for name in schema().names], schema=schema())


def to_entries(batch: Any) -> list[Entry]:
    """The entries of a record batch or table, as they were in Redis."""
    columns = {name: _one_array(batch.column(name)) for name in batch.schema.names}
    ids: list[str] = columns["entry_id"].to_pylist()
    documents = _json(columns).to_list()
    fields = columns["fields"]
    if fields.null_count == len(ids):
        return [(entry_id, [FIELD, raw]) for entry_id, raw in zip(ids, documents, strict=True)]
    return [
        (entry_id, [FIELD, raw] if kept is None else [part for pair in kept for part in pair.values()])
        for entry_id, raw, kept in zip(ids, documents, fields.to_pylist(), strict=True)
    ]


class _json:  # noqa: N801
    """The JSON of events, put together again from columns."""

    def __init__(self, columns: dict[str, Any]) -> None:
        pa, pc = need("pyarrow"), need("pyarrow.compute")
        join, first = pc.binary_join_element_wise, columns["version_first"]
        nothing = pa.nulls(len(first), pa.string())

        def piece(name: str) -> Any:
            quote = '"' if name in _TEXTS or name in ("event_type", "occurred_at") else ""
            column = columns[name]
            text = _iso(column) if name == "occurred_at" else column.cast(pa.string())
            return join(f'"{name}":{quote}', text, f"{quote},", "")

        pieces = {name: piece(name) for name in METADATA}
        version = pieces["aggregate_version"]
        pieces["aggregate_version"] = pc.if_else(first, nothing, version)
        parts = [
            "{",
            pc.if_else(first, version, nothing),
            *pieces.values(),
            '"payload":',
            columns["payload"],
            "}",
            "",
        ]
        self._found = join(*parts, null_handling="replace", null_replacement="").cast(pa.binary())

    def to_list(self) -> list[bytes]:
        found: list[bytes] = self._found.to_pylist()
        return found

    def equals_each(self, raws: Sequence[bytes | None]) -> list[bool]:
        return [a == b for a, b in zip(self.to_list(), raws, strict=True)]


def _iso(column: Any) -> Any:
    """Times as an event writes them: 2026-11-25T10:25:27.725977+00:00, without a fraction of zero."""
    pa, pc = need("pyarrow"), need("pyarrow.compute")
    micros = column.cast(pa.int64())
    text = pc.strftime(column.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S", locale="C")
    seconds = pc.multiply(pc.divide(micros, 1_000_000), 1_000_000)
    whole = pc.utf8_slice_codeunits(text, 0, 19)
    return pc.binary_join_element_wise(pc.if_else(pc.equal(micros, seconds), whole, text), "+00:00", "")


def _document(event_type: str, entry_id: str, fields: list[bytes]) -> dict[str, Any]:
    """The JSON of an entry with the defaults that a reader gives it; nothing if it is no event."""
    if len(fields) == 2 and fields[0] == FIELD:
        raw = fields[1]
    elif FIELD in fields[::2]:
        raw = fields[fields[::2].index(FIELD) * 2 + 1]
    else:
        return {}
    try:
        document = orjson.loads(raw)
        if type(document["payload"]) is dict:
            if "event_id" in document and "occurred_at" in document:
                return cast("dict[str, Any]", document)
            return with_defaults(document, event_type, entry_id)
    except (orjson.JSONDecodeError, TypeError, KeyError, IndexError):
        pass
    return {}


def _payload(document: dict[str, Any], raw: bytes | None) -> str | None:
    payload = document.get("payload")
    if payload is None:
        return None
    if raw is not None and raw.endswith(b"}") and next(reversed(document)) == "payload":
        # What stands behind the last key is its value. A nested or a second "payload" is rare, and looked at.
        _, mark, rest = raw.partition(b'"payload":')
        if mark and (mark not in rest or _loads(rest[:-1]) == payload):
            return rest[:-1].decode()
    return orjson.dumps(payload).decode()


def _loads(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _typed(values: list[Any], kind: Any, python: type) -> Any:
    pa = need("pyarrow")
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return pa.array([value if type(value) is python and _fits(value) else None for value in values], kind)


def _fits(value: Any) -> bool:
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _times(values: list[Any]) -> Any:
    pa = need("pyarrow")
    kind = pa.timestamp("us", "UTC")
    try:
        return pa.array(values, pa.string()).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return pa.array([_micros(value) for value in values], pa.int64()).cast(kind)


def _micros(value: Any) -> int | None:
    """A time that is written in another way, in µs since 1970; None for what is none."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if time is None or time.tzinfo is None:
        return None
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _pairs(fields: list[bytes]) -> list[dict[str, bytes]]:
    return [{"name": fields[n], "value": fields[n + 1]} for n in range(0, len(fields), 2)]


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column
