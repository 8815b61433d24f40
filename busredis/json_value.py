"""JSON values that nobody can change: frozen dicts and lists, and the limits every payload keeps."""

import math
from collections.abc import Iterable
from datetime import date, datetime
from enum import Enum
from typing import Any, NoReturn

#: Nesting beyond this is refused on both sides: orjson writes at most 254 levels, and nobody reads them.
MAX_DEPTH = 64

_PLAIN = frozenset({str, bool, type(None), date})


def _immutable(*_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("events are facts: their payload cannot be changed; publish another event instead")


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change; equal to, and written as, the plain dict."""

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _immutable  # type: ignore[assignment]

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

    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = _immutable  # type: ignore[assignment]
    reverse = sort = __iadd__ = __imul__ = _immutable  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type, tuple[Iterable[Any]]]:
        return type(self), (list(self),)

    def __copy__(self) -> "FrozenList":
        return self

    def __deepcopy__(self, _memo: object) -> "FrozenList":
        return self


def freeze(value: Any) -> Any:
    """`value` with every dict and list in it frozen.

    Raises ValueError, naming the place, for what JSON cannot carry and give back: floats that are not finite,
    integers beyond 64 bits, datetimes without a zone, keys that are no strings, nesting deeper than MAX_DEPTH.
    """
    return _freeze(value, "", 0)


def _freeze(value: Any, path: str, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels at {path[:80]}")
    if isinstance(value, dict):
        return FrozenDict({_key(key, path): _freeze(item, f"{path}.{key}", depth + 1) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([_freeze(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)])
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_freeze(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
    if isinstance(value, set):
        return frozenset(value)
    _check_scalar(value, path)
    return value


def _key(key: object, path: str) -> str:
    if isinstance(key, str):
        return str(key.value) if isinstance(key, Enum) else key
    raise ValueError(f"the keys of a JSON object are strings, not {type(key).__name__}, at {path or '.'}")


def _check_scalar(value: object, path: str) -> None:
    place = f" at {path}" if path else ""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number{place}")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"the integer does not fit in 64 bits{place}; send it as a string")
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"the datetime has no time zone{place}; use datetime.now(UTC)")
