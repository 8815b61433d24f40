"""What commands refuse.

Refused                    a command was refused: nothing has happened, nothing needs to be saved
├── InvalidArgument        what it was given says nothing, or cannot be
├── NotBegun               the aggregate was not activated, registered, created or started yet
├── AlreadyBegun           that happens once
├── AlreadyDone            the same permission, task, workflow or entry again
├── NotHere                no such task or entry
├── GrantedToOneself       a permission comes from somebody else
└── Full                   as much as one aggregate may keep
"""

from busredis import AggregateId


class Refused(ValueError):
    """A command was refused; says whose, and what was wrong."""

    def __init__(self, aggregate: AggregateId, detail: str) -> None:
        self.aggregate = aggregate
        super().__init__(f"{aggregate.type} {aggregate.id!r}: {detail}")


class InvalidArgument(Refused):
    """An argument that says nothing, or cannot be; `name` is which."""

    def __init__(self, aggregate: AggregateId, name: str, detail: str) -> None:
        self.name = name
        super().__init__(aggregate, f"{name} {detail}")


class NotBegun(Refused):
    """Something else has to come first."""


class AlreadyBegun(Refused):
    """An aggregate begins once: for another beginning take another id."""


class AlreadyDone(Refused):
    """The same was done before."""


class NotHere(Refused):
    """What the command is about is not in this aggregate, or no more."""


class GrantedToOneself(Refused):
    """Nobody grants a permission to himself: it takes two."""


class Full(Refused):
    """The aggregate keeps as much as it may."""
