"""Personal data in events: fields that can be made unreadable for good, without changing a fact."""

import typing
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from busredis.errors import RegistrationError
from busredis.events.fields import METADATA

#: What a text says that was made unreadable; other fields are None.
FORGOTTEN = "[forgotten]"


@dataclass(frozen=True)
class Personal:
    """Marks a payload field as personal data: `email: Annotated[str, Personal("username")] = ""`.

    `subject` names the field that says whose data it is: a payload field, or aggregate_id or user_id. The value is
    encrypted with a key of that subject when it is published. Once the key is deleted (`busredis forget`), reading gives
    "[forgotten]" for a text and None for anything else, wherever the event is stored.
    """

    subject: str


def find_personal(cls: type[BaseModel], payload: tuple[str, ...]) -> dict[str, Personal]:
    """The personal fields of an event class. Raises RegistrationError for one that could not be forgotten."""
    fields = cls.__pydantic_fields__
    found = {name: mark for name in payload for mark in fields[name].metadata if isinstance(mark, Personal)}
    for name, mark in found.items():
        if mark.subject in found or mark.subject not in {*payload, *METADATA}:
            raise RegistrationError(
                f"{cls.__name__}.{name}: Personal({mark.subject!r}) must name a field of the event that is not personal"
            )
    return found


def forgotten_value(annotation: Any) -> str | None:
    """What a forgotten field of this type reads as."""
    return FORGOTTEN if annotation is str or str in typing.get_args(annotation) else None


def check_forgotten(cls: type[BaseModel], values: dict[str, str | None]) -> None:
    """Raises RegistrationError for a field that does not take what it reads as when it is forgotten."""
    try:
        cls.__pydantic_validator__.validate_json(
            orjson.dumps({"payload": values}), by_alias=True, by_name=False
        )
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = problem["loc"][-1] if problem["loc"] else ""
            if name in values and problem["type"] != "missing":
                raise RegistrationError(
                    f"{cls.__name__}.{name}: a personal field must be able to say {values[str(name)]!r} once it is "
                    f"forgotten: make it a str, or let it be None ({problem['msg']})"
                ) from None
