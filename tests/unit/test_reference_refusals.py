"""The reference aggregates: given events, when a command, then an error that says why, and no change."""

from datetime import datetime

import pytest
from pydantic import ValidationError

from busredis.catalog import MemoryPurgedEvent, WorkflowStartedEvent
from snapshots import Agent, Conversation, Override, User
from snapshots.agent import OPEN_TASKS, REMEMBERED
from snapshots.conversation import ENTRIES, KNOWLEDGE
from snapshots.errors import (
    AlreadyBegun,
    AlreadyDone,
    Full,
    GrantedToOneself,
    InvalidArgument,
    NotBegun,
    NotHere,
    Refused,
)
from tests.unit.references import (
    EAST,
    FINISHED,
    NOON,
    activate,
    add_entry,
    assign,
    assigned,
    at,
    call,
    complete,
    completed,
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

BEGUN = {Override: overridden, User: registered, Agent: created, Conversation: started}
LAST = f"t{REMEMBERED - 1}"

NAIVE = NOON.replace(tzinfo=None)
#: class, given these events, when this command, then this error, which says this
REFUSED = [
    (Override, [overridden()], activate(), AlreadyBegun, "was activated by ada at 2026-03-01T12:00:00"),
    (Override, [overridden()], activate(now=at(9), expires_at=at(10)), AlreadyBegun, "activated by ada"),
    (Override, [], call("activate", "curfew", " \n", by="ada"), InvalidArgument, "justification is empty"),
    (Override, [], call("activate", "curfew", "a fire", by=""), InvalidArgument, "by is empty"),
    (Override, [], call("activate", "", "a fire", by="ada"), InvalidArgument, "override_type is empty"),
    (Override, [], activate(expires_at=NOON), InvalidArgument, "expires_at is no later than"),
    (Override, [], activate(expires_at=at(-1)), InvalidArgument, "expires_at is no later than"),
    (Override, [], activate(expires_at=NAIVE), InvalidArgument, "expires_at has no zone"),
    (Override, [], activate(now=NAIVE), InvalidArgument, "now has no zone"),
    (Override, [], activate(now=datetime.min.replace(tzinfo=EAST)), InvalidArgument, "now is outside"),
    (Override, [], evaluate(), NotBegun, "was not activated"),
    (
        Override,
        [overridden()],
        call("evaluate", "open", by="b", violated_law=""),
        InvalidArgument,
        "violated_law",
    ),
    (User, [registered()], register(), AlreadyBegun, "was registered at 2026-03-01"),
    (User, [], call("log_in", "s", "192.0.2.1"), NotBegun, "is not registered"),
    (User, [], call("change_password", by="ada"), NotBegun, "is not registered"),
    (User, [], grant(), NotBegun, "is not registered"),
    (User, [], call("register", "bob", "bob"), InvalidArgument, "email is no address"),
    (User, [], call("register", "bob", "a@b@c"), InvalidArgument, "email is no address"),
    (User, [], call("register", " ", "a@b"), InvalidArgument, "username is empty"),
    (User, [registered()], call("log_in", "s", ""), InvalidArgument, "ip_address is empty"),
    (User, [registered()], call("change_password", by=""), InvalidArgument, "by is empty"),
    (User, [registered(), granted(by="eve")], grant(), AlreadyDone, "read on vault by eve"),
    (User, [registered()], call("grant", "vault", "read", by="bob"), GrantedToOneself, "to himself"),
    (User, [registered()], call("grant", "vault", "read", by="x"), GrantedToOneself, "to himself"),
    (Agent, [created()], call("create", "scout", "search", []), AlreadyBegun, "was created at 2026"),
    (Agent, [], call("create", "scout", "search", ["web", ""]), InvalidArgument, "capabilities is empty"),
    (Agent, [], assign("t", "look"), NotBegun, "was not created"),
    (Agent, [], complete("t"), NotBegun, "was not created"),
    (Agent, [], call("start_workflow", "w", "crawl"), NotBegun, "was not created"),
    (Agent, [created(), assigned("t")], assign("t", "look"), AlreadyDone, "task t was assigned before"),
    (Agent, [created(), assigned("t"), completed("t")], assign("t", "look"), AlreadyDone, "t was completed"),
    (Agent, [created()], complete("t"), NotHere, "was not assigned task t"),
    (Agent, [created(), assigned("t"), completed("t")], complete("t"), AlreadyDone, "t was completed before"),
    (Agent, [created(), *FINISHED], complete("t0"), AlreadyDone, "t0 was completed before"),
    (Agent, [created(), *FINISHED, assigned("u"), completed("u")], complete("t0"), NotHere, "t0"),
    (Agent, [created()], assign("t", "look", "soon"), InvalidArgument, "priority is a number or of low"),
    (Agent, [created()], assign("t", ""), InvalidArgument, "description is empty"),
    (Agent, [created(), assigned("t")], complete("t", execution_time_ms=-1), InvalidArgument, "no duration"),
    (
        Agent,
        [created(), assigned("t")],
        complete("t", execution_time_ms=float("nan")),
        InvalidArgument,
        "no duration: nan",
    ),
    (
        Agent,
        [created(), WorkflowStartedEvent(workflow_id="w")],
        call("start_workflow", "w", "crawl"),
        AlreadyDone,
        "workflow w",
    ),
    (Conversation, [started()], call("start", "bob"), AlreadyBegun, "was started by bob at 2026"),
    (Conversation, [], call("start", ""), InvalidArgument, "user is empty"),
    (Conversation, [], add_entry("e1", "q", "a"), NotBegun, "was not started"),
    (Conversation, [], purge(), NotBegun, "was not started"),
    (Conversation, [], consolidate(), NotBegun, "was not started"),
    (Conversation, [started(), entry("e1")], add_entry("e1", "q", "a"), AlreadyDone, "entry e1 was added"),
    (Conversation, [started()], add_entry("e1", " ", ""), InvalidArgument, "messages is empty"),
    (Conversation, [started()], consolidate(), NotHere, "has no entry e1"),
    (Conversation, [started(), entry("e1"), MemoryPurgedEvent()], consolidate(), NotHere, "has no entry e1"),
    (
        Conversation,
        [started(), entry("e1")],
        call("consolidate", "k", "fact", "c", []),
        InvalidArgument,
        "sources are none",
    ),
    (Conversation, [started(), entry("e1")], consolidate(confidence=1.1), InvalidArgument, "between 0 and 1"),
    (
        Conversation,
        [started(), entry("e1"), known(category="rumour")],
        consolidate(),
        InvalidArgument,
        "category of k is rumour, not fact",
    ),
    (
        Conversation,
        [started(), entry("e1")],
        purge(before=at(10)),
        InvalidArgument,
        "before is in the future",
    ),
    (Conversation, [started(), entry("e1")], purge(before=NAIVE), InvalidArgument, "before has no zone"),
    (Conversation, [started(), entry("e1")], call("purge", by=""), InvalidArgument, "by is empty"),
]


@pytest.mark.parametrize(("cls", "history", "command", "error", "says"), REFUSED)
def test_a_command_that_is_refused_says_whose_it_was_and_what_was_wrong_and_changes_nothing(
    cls, history, command, error, says
):
    aggregate = cls("x")
    aggregate.load_from_history(history)
    before = aggregate.state.model_copy(deep=True)

    with pytest.raises(error, match=says) as caught:
        command(aggregate)

    assert type(caught.value) is error
    assert isinstance(caught.value, Refused)
    assert str(caught.value).startswith(f"{cls.__name__} 'x': ")
    assert caught.value.aggregate == aggregate.key
    assert (aggregate.state, aggregate.get_uncommitted_events()) == (before, [])


def test_arguments_of_another_type_are_refused_before_anything_changes():
    agent = Agent("x")
    agent.load_from_history([created()])

    with pytest.raises(ValidationError):
        agent.assign("t", "look", priority=1.5)

    assert (agent.state.tasks, agent.version) == ({}, 1)


def test_an_aggregate_takes_no_more_than_it_may_keep():
    agent, conversation = Agent("x"), Conversation("x")
    agent.load_from_history([created(), *(assigned(f"t{n}") for n in range(OPEN_TASKS))])
    conversation.load_from_history([started(), *(entry(f"e{n}") for n in range(ENTRIES))])

    with pytest.raises(Full, match="1,000 open tasks"):
        agent.assign("one more", "look")
    with pytest.raises(Full, match="2,000 entries: purge some"):
        conversation.add_entry("one more", "q", "a")

    agent.complete("t5")
    agent.assign("one more", "look")
    conversation.load_from_history([known(f"k{n}") for n in range(KNOWLEDGE)])
    with pytest.raises(Full, match="1,000 pieces"):
        conversation.consolidate("one more", "fact", "c", ["e1"])
    conversation.consolidate("k3", "fact", "better", ["e1"])
    conversation.purge(by="bob")
    conversation.add_entry("one more", "q", "a")
    assert (len(conversation.state.entries), conversation.state.purged) == (1, ENTRIES)
