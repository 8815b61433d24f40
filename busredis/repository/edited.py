"""An aggregate inside `with repository.edit(...)`: its commands are noted, so that they can be repeated."""

import types
from typing import Any

from busredis.aggregate import EventSourcedAggregate

_OWN = frozenset({"id", "key"})


class Edited:
    """Stands for the aggregate. After a conflict its calls are repeated on a fresh one, where they decide anew.

    That is the same as running the block again only if the block itself decided nothing by what it saw: once it has
    read anything (an attribute, a result, an error of a command), `has_looked` is set and nothing is repeated.
    """

    def __init__(self, aggregate: EventSourcedAggregate[Any]) -> None:
        put = super().__setattr__
        put("_aggregate", aggregate)
        put("_calls", [])
        put("_has_looked", False)

    def __getattr__(self, name: str) -> Any:
        aggregate = self._aggregate
        if name in _OWN:
            return getattr(aggregate, name)
        if isinstance(getattr(type(aggregate), name, None), types.FunctionType):
            return lambda *args, **kwargs: self._call(name, args, kwargs)
        super().__setattr__("_has_looked", True)
        return getattr(aggregate, name)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__("_has_looked", True)
        setattr(self._aggregate, name, value)

    @property
    def __class__(self) -> type:
        return type(self._aggregate)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise AttributeError("__class__ cannot be set")

    def __repr__(self) -> str:
        return repr(self._aggregate)

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            result = getattr(self._aggregate, name)(*args, **kwargs)
        except BaseException:
            super().__setattr__("_has_looked", True)
            raise
        if result is not None:
            super().__setattr__("_has_looked", True)
        self._calls.append((name, args, kwargs))
        return result


def parts(
    edited: Edited,
) -> tuple[EventSourcedAggregate[Any], list[tuple[str, tuple[Any, ...], dict[str, Any]]], bool]:
    """The aggregate, the calls, and whether the block has looked."""
    return edited._aggregate, edited._calls, edited._has_looked  # noqa: SLF001 - the other half of Edited


def repeat(
    aggregate: EventSourcedAggregate[Any], calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
) -> None:
    """Calls them again; what a command decides against now is raised."""
    for name, args, kwargs in calls:
        getattr(aggregate, name)(*args, **kwargs)
