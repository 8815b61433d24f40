"""Frozen JSON values and their limits."""

import copy
import pickle
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busredis import json_value
from busredis.json_value import MAX_DEPTH, FrozenDict, FrozenList, freeze, freeze_document, freeze_json
from tests.unit.strategies import json_values

ID = UUID("00000000-0000-7000-8000-000000000001")


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    ONE = "one"


class Number(IntEnum):
    ONE = 1


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(json_values)
def test_a_frozen_value_equals_the_plain_one_and_is_written_like_it(value):
    for frozen in (freeze(value), freeze_json(value)):
        assert frozen == value
        assert orjson.dumps(frozen) == orjson.dumps(value)
        assert copy.deepcopy(frozen) == pickle.loads(pickle.dumps(frozen)) == value


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("list"),
        lambda d: d.clear(),
        lambda d: d.pop("list"),
        lambda d: d.popitem(),
        lambda d: d.setdefault("b", 1),
        lambda d: d.update(b=1),
        lambda d: d.__ior__({"b": 1}),
        lambda d: d["list"].append(1),
        lambda d: d["list"].__setitem__(0, 1),
        lambda d: d["list"].__delitem__(0),
        lambda d: d["list"].clear(),
        lambda d: d["list"].extend([1]),
        lambda d: d["list"].insert(0, 1),
        lambda d: d["list"].pop(),
        lambda d: d["list"].remove(1),
        lambda d: d["list"].reverse(),
        lambda d: d["list"].sort(),
        lambda d: d["list"].__iadd__([1]),
        lambda d: d["list"].__imul__(2),
        lambda d: d["list"][1].update(b=1),
    ],
)
def test_no_method_changes_a_frozen_value(change):
    frozen = freeze({"list": [1, {"a": 2}]})

    with pytest.raises(TypeError, match="cannot be changed"):
        change(frozen)

    assert frozen == {"list": [1, {"a": 2}]}


def test_freezing_does_not_touch_what_it_was_given():
    given_value = {"list": [1]}
    frozen = freeze(given_value)

    given_value["list"].append(2)

    assert frozen == {"list": [1]}


def test_frozen_values_are_hashable_and_equal_ones_hash_alike():
    one, two = FrozenDict(a=1, b=FrozenList([1])), FrozenDict(b=FrozenList([1]), a=1)
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "nan is no JSON number"),
        ({"a": [float("inf")]}, r"inf is no JSON number at \.a\[0\]"),
        ({"a": 2**64}, r"64 bits at \.a"),
        ([-(2**63) - 1], r"64 bits at \[0\]"),
        ({"a": {1: 2}}, r"strings, not int, at \.a"),
        ([datetime(2026, 1, 1)], r"no time zone at \[0\]"),
        (nested(MAX_DEPTH + 2), "nested deeper than 64"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_place(value, message):
    for function in (freeze, freeze_json):
        with pytest.raises(ValueError, match=message):
            function(value)


def test_the_deepest_nesting_and_the_widest_integers_pass():
    for value in (nested(MAX_DEPTH), [2**64 - 1, -(2**63)]):
        assert freeze(value) == value
        assert orjson.loads(orjson.dumps(freeze(value))) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(days=1), "P1D"),
        (ID, str(ID)),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        (Word.ONE, "one"),
        (Number.ONE, 1),
        (b"text", "text"),
    ],
)
def test_where_any_value_may_be_it_is_brought_into_the_form_in_which_it_returns(value, expected):
    for place in (value, {"at": value}, [value]):
        frozen = freeze_json(place)
        assert orjson.loads(orjson.dumps(frozen)) == frozen
    assert freeze_json(value) == expected


@pytest.mark.parametrize("value", [object(), b"\xff", {"at": len}])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(ValueError, match=r"serialize|decode"):
        freeze_json(value)


def test_the_envelope_of_an_event_is_no_nesting_of_its_fields():
    document = {"payload": {"field": nested(MAX_DEPTH)}}

    assert freeze_document(document) == document


def outcome(function, *args):
    """What it returned, the types in it included, or what it said was wrong."""
    try:
        found = function(*args)
    except ValueError as error:
        return str(error)
    return found, typed(found)


def typed(value):
    if isinstance(value, dict):
        return type(value), [(key, type(key), typed(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    return type(value)


leaves = (
    st.none() | st.booleans() | st.integers() | st.integers(2**64 - 2, 2**64 + 2) | st.floats() | st.text()
)
odd = st.sampled_from(
    [Colour.RED, Word.ONE, Number.ONE, ID, Decimal(1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)]
) | st.integers(MAX_DEPTH - 2, MAX_DEPTH + 3).map(nested)
anything = st.recursive(
    leaves | odd,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from([Word.ONE, Colour.RED, 1]), inner, max_size=3)
        | st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=8,
)


@given(anything)
def test_the_quick_way_freezes_as_the_careful_one_and_leaves_it_the_errors(value):
    for function, foreign in ((freeze, json_value._keep), (freeze_json, json_value._convert)):
        careful = outcome(json_value._whole, value, 0, foreign)
        assert repr(outcome(function, value)) == repr(careful)
