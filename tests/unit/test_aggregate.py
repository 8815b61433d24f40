"""What is checked when an aggregate class is made, and what its objects promise without a store."""

import logging

import pytest
from pydantic import BaseModel, ConfigDict

from busredis import DomainEvent, EventSourcedAggregate, applies
from busredis.context import current_event
from busredis.errors import AggregateBroken, EncodeError, RegistrationError, StoreError


class LampLit(DomainEvent):
    watts: int = 0


class LampOut(DomainEvent):
    pass


class LampState(BaseModel):
    watts: int = 0


class Lamp(EventSourcedAggregate[LampState], events=(LampLit,), strict=True):
    @applies(LampLit)
    def _lit(self, event: LampLit) -> None:
        self.state.watts += 100 // event.watts


def test_an_event_without_a_method_is_an_error_if_strict_and_a_warning_else(caplog):
    with pytest.raises(RegistrationError, match=r"Half has no apply method for LampOut: @applies\(LampOut\)"):

        class Half(EventSourcedAggregate[LampState], events=(LampLit, LampOut), strict=True):
            @applies(LampLit)
            def _lit(self, event: LampLit) -> None: ...

    with caplog.at_level(logging.WARNING):

        class HalfToo(EventSourcedAggregate[LampState], events=(LampLit, LampOut)):
            @applies(LampLit)
            def _lit(self, event: LampLit) -> None: ...

    assert "HalfToo has no apply method for LampOut" in caplog.text
    half = HalfToo("h")
    half.raise_event(LampOut())
    assert half.version == 1


def test_a_method_for_an_event_that_was_not_declared_is_an_error_if_strict():
    with pytest.raises(RegistrationError, match="applies LampOut, which its events"):

        class More(EventSourcedAggregate[LampState], events=(LampLit,), strict=True):
            @applies(LampLit, LampOut)
            def _any(self, event: DomainEvent) -> None: ...


def test_two_methods_for_one_event_are_an_error():
    with pytest.raises(RegistrationError, match="_one and _two both apply LampLit"):

        class Twice(EventSourcedAggregate[LampState]):
            @applies(LampLit)
            def _one(self, event: LampLit) -> None: ...

            @applies(LampLit)
            def _two(self, event: LampLit) -> None: ...


def test_a_subclass_may_apply_an_event_in_its_own_way():
    class Dimmer(Lamp, aggregate_type="Dimmer"):
        @applies(LampLit)
        def _dimmed(self, event: LampLit) -> None:
            self.state.watts = event.watts

    dimmer = Dimmer("d")
    dimmer.raise_event(LampLit(watts=5))
    assert dimmer.state.watts == 5


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Required(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("state", "message"),
    [(Frozen, "is frozen"), (Required, "Required.name: every field"), (dict, "needs the pydantic model")],
)
def test_a_state_that_cannot_be_one_is_refused(state, message):
    with pytest.raises(RegistrationError, match=message):

        class Bad(EventSourcedAggregate[state]):
            pass


def test_a_class_without_a_state_or_with_a_taken_or_impossible_name_is_refused():
    with pytest.raises(RegistrationError, match="needs the pydantic model of its state"):

        class Bare(EventSourcedAggregate):
            pass

    with pytest.raises(RegistrationError, match="'Lamp' is already taken by"):

        class Other(EventSourcedAggregate[LampState], aggregate_type="Lamp"):
            pass

    with pytest.raises(RegistrationError, match="is not a name"):

        class Colon(EventSourcedAggregate[LampState], aggregate_type="a:b"):
            pass


@pytest.mark.parametrize("wrong", [(), (LampState,), ("LampLit",)])
def test_applies_takes_event_classes(wrong):
    with pytest.raises(RegistrationError, match="@applies"):
        applies(*wrong)(print)


def test_a_raised_event_says_whose_it_is_and_why():
    cause = LampOut(correlation_id="c-1")
    lamp = Lamp("l")
    token = current_event.set(cause)
    try:
        event = lamp.raise_event(LampLit(watts=10))
    finally:
        current_event.reset(token)

    assert (event.aggregate_type, event.aggregate_id, event.aggregate_version) == ("Lamp", "l", 1)
    assert (event.correlation_id, event.causation_id) == ("c-1", str(cause.event_id))
    assert lamp.get_uncommitted_events() == [event]
    assert (lamp.version, lamp.saved_version) == (1, 0)


def test_the_uncommitted_events_cannot_be_changed_from_outside():
    lamp = Lamp("l")
    lamp.raise_event(LampLit(watts=10))
    lamp.get_uncommitted_events().clear()
    assert len(lamp.get_uncommitted_events()) == 1


def test_only_its_state_can_be_set():
    with pytest.raises(AttributeError, match="keeps everything in its state"):
        Lamp("l").brightness = 3


def test_an_event_that_is_not_its_own_is_refused():
    lamp = Lamp("l")
    with pytest.raises(StoreError, match="has no method for LampOut"):
        lamp.raise_event(LampOut())
    with pytest.raises(EncodeError, match="aggregate_id is 'x'"):
        lamp.raise_event(LampLit(watts=1, aggregate_id="x"))
    with pytest.raises(EncodeError, match="aggregate_version is 7"):
        lamp.raise_event(LampLit(watts=1, aggregate_version=7))
    assert (lamp.version, lamp.state.watts) == (0, 0)


def test_after_a_failed_apply_method_it_is_of_no_more_use():
    lamp = Lamp("l")
    with pytest.raises(ZeroDivisionError):
        lamp.raise_event(LampLit(watts=0))
    with pytest.raises(AggregateBroken):
        lamp.raise_event(LampLit(watts=1))
    assert lamp.version == 0


def test_history_is_loaded_without_gaps():
    lamp = Lamp("l")
    lamp.load_from_history([LampLit(watts=10), LampLit(watts=20, aggregate_version=2)])
    assert (lamp.version, lamp.state.watts, lamp.get_uncommitted_events()) == (2, 15, [])
    with pytest.raises(StoreError, match="the next event is version 3, not 4"):
        lamp.load_from_history([LampLit(watts=10, aggregate_version=4)])


@pytest.mark.parametrize("wrong", ["", None, 5, "x" * 513])
def test_an_id_that_cannot_be_one_is_refused(wrong):
    with pytest.raises(EncodeError, match="the id of a Lamp"):
        Lamp(wrong)
