"""Which fields of an event may be personal data."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from busredis import DomainEvent, Personal
from busredis.errors import RegistrationError


def test_a_field_that_cannot_be_forgotten_is_refused_when_it_is_declared():
    with pytest.raises(
        RegistrationError, match=r"PersonBorn.born: a personal field must be able to say None"
    ):

        class PersonBorn(DomainEvent):
            username: str = ""
            born: Annotated[int, Personal("username")] = 0

    with pytest.raises(RegistrationError, match=r"must be able to say '\[forgotten\]'"):

        class PersonShort(DomainEvent):
            username: str = ""
            code: Annotated[str, Field(max_length=4), Personal("username")] = ""

    with pytest.raises(RegistrationError, match="must name a field of the event that is not personal"):

        class PersonLost(DomainEvent):
            email: Annotated[str, Personal("nobody")] = ""

    class PersonChosen(DomainEvent):
        username: str = ""
        sex: Annotated[Literal["f", "m"] | None, Personal("username")] = None

    assert PersonChosen.forgotten == {"sex": None}
