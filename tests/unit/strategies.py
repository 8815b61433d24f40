"""Events with everything that they may hold, for Hypothesis."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from busredis import catalog

CLASSES = [getattr(catalog, name) for name in catalog.__all__]

#: UTF-8 cannot carry lone surrogates; all else it can, NUL and newlines included.
texts = st.text(st.characters(codec="utf-8"), max_size=30)
optional_texts = st.none() | texts
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones | st.just(UTC))
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**64 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, json_values, max_size=4)

BY_FIELD = {
    "decision": st.sampled_from(["ALLOW", "DENY"]),
    "violated_law": optional_texts,
    "context": objects,
    "input_params": objects,
    "votes": objects,
    "capabilities": st.lists(texts, max_size=4),
    "source_entries": st.lists(texts, max_size=4),
    "expires_at": st.none() | times,
    "before_date": st.none() | times,
    "confidence": floats,
    "execution_time_ms": floats,
    "priority": integers | texts,
    "result": json_values,
    "purged_count": integers,
    "consensus_reached": st.booleans(),
}
METADATA = {
    "event_id": st.builds(uuid.UUID, int=st.integers(0, 2**128 - 1)),
    "occurred_at": times,
    "aggregate_id": optional_texts,
    "aggregate_type": optional_texts,
    "aggregate_version": st.none() | st.integers(0, 2**63 - 1),
    "correlation_id": optional_texts,
    "causation_id": optional_texts,
    "user_id": optional_texts,
    "traceparent": optional_texts,
}


def events_of(cls):
    defaults = cls()
    metadata = {cls.attribute_of(name): strategy for name, strategy in METADATA.items()}
    payload = {name: BY_FIELD.get(name, texts) for name in defaults.payload}
    return st.fixed_dictionaries({}, optional=metadata | payload).map(lambda fields: cls(**fields))


events = st.sampled_from(CLASSES).flatmap(events_of)
