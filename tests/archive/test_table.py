"""What comes back from columns is byte for byte what went in."""

import json

from hypothesis import given
from hypothesis import strategies as st

from busredis.cold.table import to_batch, to_entries
from tests.archive.conftest import ColdPaid

OWN = ColdPaid(order='"é\\', cents=3, aggregate_id="a", aggregate_version=7, user_id="ü")
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.none(), st.integers(), st.booleans()
)
TIMES = st.one_of(
    TEXT, st.datetimes().map(lambda time: time.isoformat() + "+00:00"), st.just("2026-11-25T10:00:00+01:00")
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": TEXT,
        "event_type": st.one_of(TEXT, st.just("ColdPaid")),
        "event_version": st.one_of(TEXT, st.floats(allow_nan=False, allow_infinity=False), st.just(2**70)),
        "occurred_at": TIMES,
        "aggregate_id": TEXT,
        "aggregate_version": TEXT,
        "payload": st.one_of(TEXT, st.dictionaries(st.sampled_from(["payload", "a"]), TEXT, max_size=2)),
        "other": TEXT,
    },
)
JSONS = st.one_of(
    st.binary(max_size=12),
    DOCUMENTS.map(lambda document: json.dumps(document).encode()),
    DOCUMENTS.map(lambda document: json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()),
    st.just(OWN.to_json()),
    st.just(b'{"aggregate_version":3,' + ColdPaid(order="spliced").to_json()[1:]),
    st.just(ColdPaid().to_json()[:-1] + b',"payload":{"order":"doubled"}}'),
    st.just(ColdPaid().to_json()[:-1] + b',"more":1}'),
    st.just(ColdPaid().to_json() + b" "),
)
FIELDS = st.one_of(
    JSONS.map(lambda raw: [b"event", raw]),
    st.lists(
        st.tuples(st.one_of(st.binary(max_size=5), st.just(b"event")), JSONS), min_size=1, max_size=3
    ).map(lambda pairs: [part for pair in pairs for part in pair]),
)
IDS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(lambda pair: f"{pair[0]}-{pair[1]}")


@given(st.lists(st.tuples(IDS, FIELDS), min_size=1, max_size=6))
def test_any_entry_comes_back_byte_for_byte(entries):
    batch = to_batch("ColdPaid", entries)

    assert to_entries(batch) == entries
    for row, (_, fields) in zip(batch.to_pylist(), entries, strict=True):
        if row["fields"] is None:
            assert json.loads(row["payload"]) == json.loads(fields[1])["payload"]


def test_an_event_is_its_columns_and_nothing_is_stored_twice():
    [row] = to_batch("ColdPaid", [("1700000000000-5", [b"event", OWN.to_json()])]).to_pylist()

    assert row["fields"] is None
    assert (row["entry_id"], row["ms"], row["seq"]) == ("1700000000000-5", 1700000000000, 5)
    assert (row["event_type"], row["event_version"], row["aggregate_version"]) == ("ColdPaid", 1, 7)
    assert (row["event_id"], row["occurred_at"]) == (str(OWN.event_id), OWN.occurred_at)
    assert (row["aggregate_id"], row["user_id"], row["payload"]) == (
        "a",
        "ü",
        '{"order":"\\"é\\\\","cents":3}',
    )


def test_an_entry_of_another_program_has_columns_and_all_its_fields():
    [row] = to_batch(
        "ColdPaid", [("1700000000000-0", [b"event", b'{"payload": {"cents": 5}}', b"x", b"\xff"])]
    ).to_pylist()

    assert row["payload"] == '{"cents":5}'
    assert row["event_id"] is not None
    assert row["fields"] == [
        {"name": b"event", "value": b'{"payload": {"cents": 5}}'},
        {"name": b"x", "value": b"\xff"},
    ]
