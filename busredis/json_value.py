"""JSON values that nobody can change: frozen dicts and lists, and the limits every payload keeps."""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn

from pydantic_core import to_jsonable_python

#: Nesting beyond this is refused on both sides: orjson writes at most 254 levels, and nobody reads them.
MAX_DEPTH = 64

_PLAIN = frozenset({str, bool, type(None)})

#: What to do with a value that is no JSON value, at a depth.
_Foreign = Callable[[Any, int], Any]


def _immutable(*_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("events are facts: their payload cannot be changed; publish another event instead")


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change; equal to, and written as, the plain dict."""

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _immutable

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

    def __copy__(self) -> "FrozenDict":
        return self

    def __deepcopy__(self, _memo: object) -> "FrozenDict":
        return self


class FrozenList(list[Any]):
    """A list that refuses every change; equal to, and written as, the plain list."""

    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = _immutable
    reverse = sort = __iadd__ = __imul__ = _immutable

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type, tuple[Iterable[Any]]]:
        return type(self), (list(self),)

    def __copy__(self) -> "FrozenList":
        return self

    def __deepcopy__(self, _memo: object) -> "FrozenList":
        return self


class _Unfit(Exception):
    """A value that JSON cannot carry. Its place is put together on the way out: most values are fit and need none."""

    def __init__(self, what: str, advice: str = "") -> None:
        self.what, self.advice = what, advice
        self.steps: list[str] = []
        super().__init__(what)

    def __str__(self) -> str:
        place = "".join(reversed(self.steps))[:80]
        return f"{self.what} at {place}{self.advice}" if place else f"{self.what}{self.advice}"


def freeze(value: Any) -> Any:
    """`value` with every dict and list in it frozen.

    Raises ValueError, naming the place, for what JSON cannot carry and give back: floats that are not finite,
    integers beyond 64 bits, datetimes without a zone, keys that are no strings, nesting deeper than MAX_DEPTH.
    """
    try:
        return _quick(value, 0)
    except _UnusualError:
        return _whole(value, 0, _keep)


def freeze_json(value: Any) -> Any:
    """As `freeze`, for a field that takes any JSON value: dates, UUIDs, tuples, models ... become JSON values.

    Nothing would tell a reader to turn them back, so an event has them in the form in which they return.
    """
    if type(value) is dict:
        # One level of plain values, as most are.
        for key, item in value.items():
            if type(item) not in _PLAIN and (type(item) is not int or not -(2**63) <= item < 2**64):
                break
            if type(key) is not str:
                break
        else:
            return FrozenDict(value)
    try:
        return _quick(value, 0)
    except _UnusualError:
        return _whole(value, 0, _convert)


def freeze_document(document: dict[str, Any]) -> Any:
    """As `freeze_json`, for a whole event: the envelope and the payload are no nesting of a value."""
    return _whole(document, -2, _convert)


class _UnusualError(Exception):
    """A value that the quick way leaves to the other, which converts it or names its place."""


def _quick(value: Any, depth: int) -> Any:
    """What `_freeze` does, for the very types that a JSON parser makes: every event that is read comes this way."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > MAX_DEPTH:
        raise _UnusualError
    if kind is dict or kind is FrozenDict:
        for key in value:
            if type(key) is not str:
                raise _UnusualError
        return FrozenDict(
            {key: item if type(item) in _PLAIN else _quick(item, depth + 1) for key, item in value.items()}
        )
    if kind is list or kind is FrozenList:
        return FrozenList([item if type(item) in _PLAIN else _quick(item, depth + 1) for item in value])
    if kind is int and -(2**63) <= value < 2**64:
        return value
    if kind is float and math.isfinite(value):
        return value
    raise _UnusualError


def _whole(value: Any, depth: int, foreign: _Foreign) -> Any:
    try:
        return _freeze(value, depth, foreign)
    except _Unfit as error:
        raise ValueError(str(error)) from None


def _freeze(value: Any, depth: int, foreign: _Foreign) -> Any:
    if type(value) in _PLAIN:
        return value
    if depth > MAX_DEPTH:
        raise _Unfit(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return FrozenDict(_frozen_items(value, depth + 1, foreign))
    if isinstance(value, list):
        return FrozenList(_frozen_values(value, depth + 1, foreign))
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unfit(f"{value} is no JSON number")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise _Unfit("the integer does not fit in 64 bits", "; send it as a string")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise _Unfit("the datetime has no time zone", "; use datetime.now(UTC)")
    return value if isinstance(value, str | int | float) else foreign(value, depth)


def _frozen_items(value: dict[Any, Any], depth: int, foreign: _Foreign) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = _key(key)
        try:
            yield name, _freeze(item, depth, foreign)
        except _Unfit as error:
            error.steps.append(f".{name}")
            raise


def _frozen_values(value: Iterable[Any], depth: int, foreign: _Foreign) -> Iterator[Any]:
    for index, item in enumerate(value):
        try:
            yield _freeze(item, depth, foreign)
        except _Unfit as error:
            error.steps.append(f"[{index}]")
            raise


def _keep(value: Any, depth: int) -> Any:
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_frozen_values(value, depth + 1, _keep))
    return frozenset(value) if isinstance(value, set) else value


def _convert(value: Any, depth: int) -> Any:
    if isinstance(value, tuple | set | frozenset):
        return _freeze(list(value), depth, _convert)
    try:
        plain = to_jsonable_python(value)
    except ValueError as error:
        raise _Unfit(str(error)) from None
    return _freeze(plain, depth, _convert)


def _key(key: object) -> str:
    if isinstance(key, str):
        return str(key.value) if isinstance(key, Enum) else key
    raise _Unfit(f"the keys of a JSON object are strings, not {type(key).__name__},")
