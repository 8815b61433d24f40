"""The classes of events, by event type."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from busredis.errors import DuplicateEventType, RegistrationError, UnknownEventType

if TYPE_CHECKING:
    from busredis.events.event import DomainEvent


class Registry:
    """Event classes by their event type."""

    def __init__(self) -> None:
        self._classes: dict[str, type[DomainEvent]] = {}

    def add(self, cls: "type[DomainEvent]") -> None:
        """Raises DuplicateEventType if another class has the type; defining the same class anew replaces it."""
        known = self._classes.get(cls.type_name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DuplicateEventType(cls.type_name, known, cls)
        self._classes[cls.type_name] = cls

    def get(self, event_type: str) -> "type[DomainEvent]":
        """Raises UnknownEventType."""
        try:
            return self._classes[event_type]
        except KeyError:
            raise UnknownEventType(event_type, sorted(self._classes)) from None

    def __contains__(self, event_type: object) -> bool:
        return event_type in self._classes

    def __iter__(self) -> "Iterator[type[DomainEvent]]":
        return iter(list(self._classes.values()))

    def check(self) -> None:
        """Raises RegistrationError if a class lacks an upcaster: at start-up, not at midnight."""
        for cls in self:
            missing = [step for step in range(1, cls.version) if step not in cls.upcasters]
            if missing:
                raise RegistrationError(
                    f"{cls.type_name} is at version {cls.version} but has no upcaster from version {missing[0]}: "
                    f"@{cls.__name__}.upcaster({missing[0]})"
                )


#: The registry that every subclass of DomainEvent joins.
registry = Registry()
