"""The reference aggregates: given events, when a command, then an event."""

import pytest

from busredis import InMemoryEventStore, Repository
from busredis.catalog import (
    ActionEvaluatedEvent,
    AgentCreatedEvent,
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
    OverrideActivatedEvent,
    PasswordChangedEvent,
    PermissionGrantedEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
    WorkflowStartedEvent,
)
from snapshots import Agent, Conversation, Override, User
from tests.unit.references import (
    EAST,
    NOON,
    activate,
    add_entry,
    assign,
    assigned,
    at,
    call,
    complete,
    consolidate,
    created,
    entry,
    evaluate,
    grant,
    granted,
    known,
    overridden,
    purge,
    register,
    registered,
    started,
)


def when(cls, history, command):
    """What a command on an aggregate with this history raises; the aggregate after it."""
    store = InMemoryEventStore()
    repository = Repository(store)
    store.append((cls.aggregate_type, "x"), 0, history)
    aggregate = repository.load(cls, "x") if history else cls("x")

    command(aggregate)

    raised = aggregate.get_uncommitted_events()
    repository.save(aggregate)
    assert (repository.load(cls, "x").state if aggregate.version else cls("x").state) == aggregate.state
    return raised, aggregate


#: class, given these events, when this command, then this event: its type and what it says at least, user_id
RAISES = [
    (
        Override,
        [],
        activate(),
        OverrideActivatedEvent,
        {"justification": "a fire", "expires_at": None},
        "ada",
    ),
    (Override, [], activate(expires_at=at(1)), OverrideActivatedEvent, {"expires_at": at(1)}, "ada"),
    (
        Override,
        [overridden()],
        evaluate(now=at(1)),
        ActionEvaluatedEvent,
        {
            "decision": "ALLOW",
            "rationale": "a fire",
            "violated_law": "L1",
            "context": {"override": "x", "user": "bob"},
        },
        "bob",
    ),
    (Override, [overridden()], evaluate(now=at(2)), ActionEvaluatedEvent, {"decision": "DENY"}, "bob"),
    (Override, [overridden()], evaluate(now=at(-1)), ActionEvaluatedEvent, {"decision": "DENY"}, "bob"),
    (
        User,
        [],
        register(),
        UserRegisteredEvent,
        {"username": "bob", "email": "bob@example.org", "role": "user"},
        "bob",
    ),
    (User, [], register(by="ada"), UserRegisteredEvent, {"username": "bob"}, "ada"),
    (
        User,
        [registered()],
        call("log_in", "s", "192.0.2.1", now=at(1)),
        UserLoggedInEvent,
        {"username": "bob", "session_id": "s", "ip_address": "192.0.2.1"},
        "bob",
    ),
    (
        User,
        [registered()],
        call("change_password", by="ada", now=at(1)),
        PasswordChangedEvent,
        {"username": "bob", "changed_by": "ada"},
        "ada",
    ),
    (User, [registered()], grant(), PermissionGrantedEvent, granted().payload, "ada"),
    (
        User,
        [registered(), granted("vault", "write")],
        grant(),
        PermissionGrantedEvent,
        granted().payload,
        "ada",
    ),
    (
        User,
        [registered(), granted("door", "read")],
        grant(),
        PermissionGrantedEvent,
        granted().payload,
        "ada",
    ),
    (
        Agent,
        [],
        call("create", "scout", "search", ["web", "web"], by="ada", now=NOON),
        AgentCreatedEvent,
        created().payload,
        "ada",
    ),
    (Agent, [created()], assign("t", "look", "high"), TaskAssignedEvent, assigned("t", "high").payload, None),
    (
        Agent,
        [created(), assigned("t")],
        complete("t", {"found": 3}, execution_time_ms=5),
        TaskCompletedEvent,
        {"agent_id": "x", "task_id": "t", "result": {"found": 3}, "execution_time_ms": 5.0},
        None,
    ),
    (
        Agent,
        [created()],
        call("start_workflow", "w", "crawl", {"depth": 2}, now=at(1)),
        WorkflowStartedEvent,
        {"workflow_id": "w", "workflow_type": "crawl", "input_params": {"depth": 2}},
        None,
    ),
    (
        Conversation,
        [],
        call("start", "bob", "hello", now=NOON),
        ConversationStartedEvent,
        started().payload,
        "bob",
    ),
    (
        Conversation,
        [],
        call("start", "bob", by="ada", now=NOON),
        ConversationStartedEvent,
        {"user_id": "bob"},
        "ada",
    ),
    (
        Conversation,
        [started()],
        add_entry("e1", "q", "a"),
        MemoryEntryCreatedEvent,
        entry("e1").payload,
        "bob",
    ),
    (
        Conversation,
        [started(), entry("e1")],
        consolidate(),
        KnowledgeConsolidatedEvent,
        known().payload,
        None,
    ),
    (Conversation, [started(), entry("e1"), known()], consolidate(), KnowledgeConsolidatedEvent, {}, None),
    (
        Conversation,
        [started(), entry("e1", 1), entry("e2", 2), entry("e3", 3)],
        purge(before=at(3).astimezone(EAST)),
        MemoryPurgedEvent,
        {"purged_count": 2, "before_date": at(3)},
        "bob",
    ),
    (
        Conversation,
        [started(), entry("e1", 1), entry("e2", 2)],
        purge(),
        MemoryPurgedEvent,
        {"purged_count": 2, "before_date": None},
        "bob",
    ),
    (
        Conversation,
        [started(), entry("e1"), MemoryPurgedEvent(purged_count=1)],
        add_entry("e1", "q", ""),
        MemoryEntryCreatedEvent,
        {"entry_id": "e1"},
        "bob",
    ),
]


@pytest.mark.parametrize(("cls", "history", "command", "kind", "says", "user"), RAISES)
def test_a_command_raises_one_event_that_says_what_was_done_by_whom_and_to_which_aggregate(
    cls, history, command, kind, says, user
):
    [event], _ = when(cls, history, command)

    assert type(event) is kind
    assert event.payload | says == event.payload
    meta = event.metadata
    assert (meta["aggregate_type"], meta["aggregate_id"]) == (cls.__name__, "x")
    assert (meta["aggregate_version"], meta["user_id"]) == (len(history) + 1, user)
