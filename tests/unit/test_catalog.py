"""The catalog: sixteen classes, their fields, and that old facts may lack some."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from pydantic import ValidationError

import busredis.catalog
from busredis.catalog import (
    ActionEvaluatedEvent,
    ConversationStartedEvent,
    OverrideActivatedEvent,
    TaskAssignedEvent,
)
from busredis.codec import Codec
from busredis.events import DomainEvent, registry
from tests.unit.strategies import CLASSES, events

CATALOG = {
    "ActionEvaluatedEvent": "action decision violated_law rationale context",
    "OverrideActivatedEvent": "override_type justification activated_by expires_at",
    "BlackVaultEntryAddedEvent": "content_hash reason added_by",
    "ConversationStartedEvent": "user_id initial_message",
    "MemoryEntryCreatedEvent": "entry_id user_message ai_response",
    "KnowledgeConsolidatedEvent": "knowledge_id category content confidence source_entries",
    "MemoryPurgedEvent": "purged_count before_date",
    "UserRegisteredEvent": "username email role",
    "UserLoggedInEvent": "username session_id ip_address",
    "PasswordChangedEvent": "username changed_by",
    "PermissionGrantedEvent": "username resource action granted_by",
    "AgentCreatedEvent": "agent_name agent_type capabilities",
    "TaskAssignedEvent": "agent_id task_id task_description priority",
    "TaskCompletedEvent": "agent_id task_id result execution_time_ms",
    "WorkflowStartedEvent": "workflow_id workflow_type input_params",
    "CouncilDecisionMadeEvent": "council_id decision votes consensus_reached",
}


def test_the_catalog_exports_its_sixteen_classes_sorted():
    assert busredis.catalog.__all__ == sorted(CATALOG)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_event_has_its_fields_and_is_registered_under_its_class_name(cls):
    assert " ".join(cls().payload) == CATALOG[cls.__name__]
    assert registry.get(cls.__name__) is cls


@pytest.mark.parametrize("cls", CLASSES)
def test_an_old_fact_without_any_payload_field_can_be_read(cls):
    event = DomainEvent.from_dict({"event_type": cls.__name__, "payload": {}})

    assert event.payload == cls().payload


@given(events)
def test_from_dict_gives_back_what_to_dict_described(event):
    found = DomainEvent.from_dict(event.to_dict())

    assert found == event
    assert found.metadata == event.metadata


@given(events)
def test_decode_gives_back_what_encode_wrote(event):
    codec = Codec(max_bytes=10_000_000)
    raw = codec.encode(event)

    found = codec.decode(type(event), "1-0", [b"event", raw])

    assert found == event
    assert found.metadata == event.metadata
    assert codec.encode(found) == raw


def test_a_decision_that_is_not_given_is_deny():
    assert ActionEvaluatedEvent().decision == "DENY"
    with pytest.raises(ValidationError, match="decision"):
        ActionEvaluatedEvent(decision="allow")


def test_the_user_of_a_conversation_and_the_user_of_the_metadata_are_both_kept():
    event = ConversationStartedEvent(user_id="alice", metadata_user_id="admin")

    found = DomainEvent.from_dict(event.to_dict())

    assert found == event
    assert (found.user_id, found.metadata_user_id) == ("alice", "admin")
    assert (found.to_dict()["payload"]["user_id"], found.to_dict()["user_id"]) == ("alice", "admin")


def test_times_of_the_payload_come_as_datetimes_or_iso_strings_and_need_a_zone():
    as_text = OverrideActivatedEvent(expires_at="2026-01-01T02:00:00+02:00")

    assert as_text.expires_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert as_text.expires_at.utcoffset() == timedelta(hours=2)
    with pytest.raises(ValidationError, match="expires_at"):
        OverrideActivatedEvent(expires_at="2026-01-01T02:00:00")


def test_a_priority_is_a_number_or_a_word_and_stays_what_it_is():
    for priority in (3, "3", "high"):
        found = DomainEvent.from_dict(TaskAssignedEvent(priority=priority).to_dict())
        assert found.priority == priority
        assert type(found.priority) is type(priority)
