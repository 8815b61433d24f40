"""The reference aggregates: given events, when a command, then events or an error."""

from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from busredis import InMemoryEventStore, Repository, VersionConflict
from busredis.aggregate import SnapshotPolicy, aggregates
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
from busredis.errors import AggregateNotFound
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
from snapshots.user import ADDRESSES
from tests.unit.strategies import events_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AGGREGATES = [Agent, Conversation, Override, User]


def at(hours):
    return NOON + hours * HOUR


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


def call(name, *args, **options):
    return lambda aggregate: getattr(aggregate, name)(*args, **options)


def overridden(**changes):
    fields = {
        "override_type": "curfew",
        "justification": "a fire",
        "activated_by": "ada",
        "expires_at": at(2),
    }
    return OverrideActivatedEvent(**(fields | {"occurred_at": NOON} | changes))


def registered():
    return UserRegisteredEvent(username="bob", email="bob@example.org", role="user", occurred_at=NOON)


def logged_in(hours, address="192.0.2.1", session="s"):
    return UserLoggedInEvent(username="bob", session_id=session, ip_address=address, occurred_at=at(hours))


def granted(resource="vault", action="read", by="ada"):
    return PermissionGrantedEvent(
        username="bob", resource=resource, action=action, granted_by=by, occurred_at=at(1)
    )


def created():
    return AgentCreatedEvent(agent_name="scout", agent_type="search", capabilities=["web"], occurred_at=NOON)


def assigned(task, priority=0, hours=1):
    return TaskAssignedEvent(
        agent_id="x", task_id=task, task_description="look", priority=priority, occurred_at=at(hours)
    )


def completed(task, ms=0.0):
    return TaskCompletedEvent(agent_id="x", task_id=task, execution_time_ms=ms, occurred_at=at(2))


def started():
    return ConversationStartedEvent(user_id="bob", initial_message="hello", occurred_at=NOON)


def entry(name, hours=1):
    return MemoryEntryCreatedEvent(entry_id=name, user_message="q", ai_response="a", occurred_at=at(hours))


def known(name="k", category="fact"):
    return KnowledgeConsolidatedEvent(
        knowledge_id=name, category=category, content="c", confidence=0.5, source_entries=["e1"]
    )


activate = partial(call, "activate", "curfew", "a fire", by="ada", now=NOON)
evaluate = partial(call, "evaluate", "open", by="bob", violated_law="L1")
register = partial(call, "register", "bob", "bob@example.org", now=NOON)
grant = partial(call, "grant", "vault", "read", by="ada", now=at(2))
assign = partial(call, "assign", now=at(1))
complete = partial(call, "complete", now=at(2))
add_entry = partial(call, "add_entry", now=at(1))
consolidate = partial(call, "consolidate", "k", "fact", "c", ["e1"], confidence=0.5, now=at(2))
purge = partial(call, "purge", by="bob", now=at(9))

EAST = timezone(timedelta(hours=2))
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


BEGUN = {Override: overridden, User: registered, Agent: created, Conversation: started}
LAST = f"t{REMEMBERED - 1}"
FINISHED = [event for n in range(REMEMBERED) for event in (assigned(f"t{n}"), completed(f"t{n}"))]
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


@pytest.mark.parametrize(
    ("time", "active"),
    [
        (at(-1), False),
        (NOON, True),
        (at(2) - timedelta(microseconds=1), True),
        (at(2), False),
        (at(9), False),
    ],
)
def test_an_override_is_active_from_its_activation_until_it_expires(time, active):
    override = Override("x")
    assert not override.is_active(time)

    override.load_from_history([overridden()])

    assert override.is_active(time) is active
    assert override.is_active(time.astimezone(EAST)) is active


def test_an_override_without_an_end_holds_for_good():
    override = Override("x")
    override.activate("curfew", "a fire", by="ada")

    assert override.is_active()
    assert override.is_active(datetime.max.replace(tzinfo=UTC))


def test_an_override_counts_what_it_let_through_and_what_came_too_late():
    override = Override("x")
    override.load_from_history([overridden()])

    for hours in (0, 1, 2):
        override.evaluate("open", by="bob", violated_law="L1", now=at(hours))

    state = override.state
    assert (state.allowed, state.denied, state.last_action, state.last_decision) == (2, 1, "open", "DENY")


def test_logins_keep_their_number_the_last_one_and_the_latest_addresses_only():
    user = User("x")
    addresses = [f"192.0.2.{n}" for n in range(ADDRESSES + 5)]
    user.load_from_history([registered(), *(logged_in(n, a) for n, a in enumerate(addresses))])
    user.log_in("again", addresses[6], now=at(100))

    assert (user.state.logins, user.state.last_session) == (ADDRESSES + 6, "again")
    assert user.state.last_login_at == at(100)
    assert user.state.addresses == [*addresses[5:6], *addresses[7:], addresses[6]]

    user.log_in("late", "198.51.100.1", now=at(50))

    assert user.state.logins == ADDRESSES + 7
    assert (user.state.last_session, user.state.last_login_at) == ("again", at(100))
    assert "198.51.100.1" not in user.state.addresses


def test_a_password_that_somebody_else_set_must_be_changed_by_the_user():
    user = User("x")
    user.load_from_history([registered()])
    assert not user.must_change_password

    user.change_password(by="ada", now=at(1))
    assert user.must_change_password

    user.change_password(by="bob", now=at(2))
    assert not user.must_change_password
    assert (user.state.password_changes, user.state.password_changed_at) == (2, at(2))


def test_a_user_may_do_what_was_granted_and_nothing_else():
    user = User("x")
    user.load_from_history([registered(), granted("vault", "read"), granted("door", "open")])

    assert user.may("read", "vault")
    assert not any([user.may("open", "vault"), user.may("read", "door"), user.may("vault", "read")])
    assert user.state.permissions["vault"]["read"].by == "ada"


def test_the_next_task_is_the_most_urgent_one_and_of_those_the_oldest():
    agent = Agent("x")
    assert agent.next_task is None
    priorities = [("a", "low", 1), ("b", 5, 1), ("c", "high", 3), ("d", 10, 2), ("e", "whenever", 1)]
    agent.load_from_history([created(), *(assigned(*one) for one in [*priorities, ("f", "urgent", 9)])])

    done = []
    while agent.next_task:
        done.append(agent.next_task)
        agent.complete(agent.next_task, now=at(10))

    assert done == ["f", "d", "c", "b", "e", "a"]


def test_an_agent_keeps_open_tasks_counts_and_only_the_latest_finished_ones():
    agent = Agent("x")
    agent.load_from_history([created(), *FINISHED, assigned("u"), completed("u", 303.0), assigned("open")])

    state = agent.state
    assert list(state.tasks) == ["open"]
    assert state.finished == [*(f"t{n}" for n in range(1, REMEMBERED)), "u"]
    assert (state.completed, state.execution_time_ms, agent.mean_execution_ms) == (REMEMBERED + 1, 303.0, 3.0)


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


def test_a_purge_keeps_later_entries_and_what_was_distilled_from_the_others():
    conversation = Conversation("x")
    conversation.load_from_history([started(), entry("e1", 1), entry("e2", 2), known()])

    conversation.purge(by="bob", before=at(2), now=at(9))
    conversation.purge(by="bob", before=at(2), now=at(9))

    assert conversation.state.entries == {"e2": at(2)}
    assert (conversation.state.created, conversation.state.purged) == (2, 1)
    assert conversation.state.knowledge["k"].wordings == 1
    assert len(conversation.get_uncommitted_events()) == 1


def test_edit_creates_saves_and_saves_nothing_of_a_block_that_was_refused():
    repository = Repository(InMemoryEventStore())
    with pytest.raises(AggregateNotFound), repository.edit(User, "bob") as user:
        pass
    with repository.edit(User, "bob", create=True) as user:
        user.register("bob", "bob@example.org", now=NOON)
        user.grant("vault", "read", by="ada")

    def log_in_and_grant():
        with repository.edit(User, "bob") as user:
            user.log_in("s", "192.0.2.1")
            user.grant("vault", "read", by="ada")

    with pytest.raises(AlreadyDone):
        log_in_and_grant()

    user = repository.load(User, "bob")
    assert (user.version, user.state.logins) == (2, 0)


def test_edit_decides_anew_when_another_save_was_faster():
    repository = Repository(InMemoryEventStore())
    repository.store.append(("Agent", "x"), 0, [created(), assigned("t"), assigned("u")])

    with repository.edit(Agent, "x") as agent:
        agent.complete("u")
        with repository.edit(Agent, "x") as rival:
            rival.complete("t")
    assert repository.load(Agent, "x").state.finished == ["t", "u"]

    def complete_after_a_rival():
        with repository.edit(Agent, "x") as agent:
            agent.assign("v", "look")
            agent.complete("v")
            with repository.edit(Agent, "x") as rival:
                rival.assign("v", "look")
                rival.complete("v")

    with pytest.raises(AlreadyDone, match="v was completed before"):
        complete_after_a_rival()
    assert repository.load(Agent, "x").state.completed == 3


def test_edit_of_an_override_that_was_looked_at_is_not_repeated():
    repository = Repository(InMemoryEventStore())
    repository.store.append(("Override", "x"), 0, [overridden()])

    def look_and_evaluate():
        with repository.edit(Override, "x") as override:
            if override.is_active(at(1)):
                override.evaluate("open", by="bob", violated_law="L1", now=at(1))
            repository.update(Override, "x", evaluate(now=at(1)))

    with pytest.raises(VersionConflict):
        look_and_evaluate()

    assert repository.load(Override, "x").state.allowed == 1


def test_a_login_each_hour_for_months_leaves_a_snapshot_and_a_small_state():
    store = InMemoryEventStore()
    repository = Repository(store)
    repository.store.append(("User", "x"), 0, [registered()])
    for start in range(0, 1_000, 50):
        with repository.edit(User, "x") as user:
            for hours in range(start, start + 50):
                user.log_in(f"s{hours}", f"192.0.2.{hours % 200}", now=at(hours))

    snapshot = store.snapshots[User("x").key]
    assert 1_001 - snapshot.version < User.snapshots.every
    assert len(snapshot.state) < 1_000
    assert repository.load(User, "x").state.logins == 1_000
    assert repository.load(User, "x", at_version=11).state.logins == 10


def test_a_snapshot_that_is_there_is_there_when_it_is_asked_for_again():
    repository = Repository(InMemoryEventStore())
    user = repository.update(User, "x", register(), create=True)
    assert repository.snapshot(user)

    assert repository.snapshot(user)
    assert repository.snapshot(repository.load(User, "x"))


def test_each_has_its_own_policy_and_applies_only_what_it_declared():
    assert {cls.aggregate_type: aggregates[cls.aggregate_type] for cls in AGGREGATES} == {
        "Agent": Agent,
        "Conversation": Conversation,
        "Override": Override,
        "User": User,
    }
    assert len({cls.snapshots for cls in AGGREGATES} | {SnapshotPolicy()}) == 5
    assert (User.snapshots.every, User.snapshots.older_than) == (100, timedelta(hours=1))


# Random commands over few names and times, so that they often succeed and often meet.
names = st.sampled_from(["a", "b", "c"])
moments = st.integers(0, 20).map(at)
later = st.none() | moments


def commands(**arguments):
    return st.sampled_from(sorted(arguments)).flatmap(
        lambda name: st.tuples(st.just(name), st.fixed_dictionaries(arguments[name] | {"now": moments}))
    )


COMMANDS = {
    Override: commands(
        activate={"override_type": names, "justification": names, "by": names, "expires_at": later},
        evaluate={"action": names, "by": names, "violated_law": names},
    ),
    User: commands(
        register={"username": names, "email": st.just("a@b"), "role": names},
        log_in={"session_id": names, "ip_address": st.integers(0, 20).map(str)},
        change_password={"by": names},
        grant={"resource": names, "action": names, "by": names},
    ),
    Agent: commands(
        create={"name": names, "kind": names, "capabilities": st.lists(names)},
        assign={"task_id": names, "description": names, "priority": st.integers(-5, 5) | st.just("high")},
        complete={"task_id": names, "execution_time_ms": st.floats(0, 1e308)},
        start_workflow={"workflow_id": names, "workflow_type": names},
    ),
    Conversation: commands(
        start={"user": names},
        add_entry={"entry_id": names, "user_message": names, "ai_response": names},
        consolidate={
            "knowledge_id": names,
            "category": names,
            "content": names,
            "sources": st.lists(names, min_size=1, max_size=2),
            "confidence": st.floats(0, 1),
        },
        purge={"by": names, "before": later},
    ),
}


def round_trip(state):
    return type(state).model_validate_json(state.model_dump_json())


def replayed(cls, events):
    aggregate = cls("x")
    aggregate.load_from_history(events)
    return aggregate


@pytest.mark.parametrize("cls", AGGREGATES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_after_any_commands_every_snapshot_and_its_tail_give_what_the_whole_history_gives(cls, data):
    store = InMemoryEventStore()
    repository = Repository(store)
    key = cls("x").key
    states = [cls("x").state]
    for name, arguments in data.draw(st.lists(COMMANDS[cls], max_size=30)):
        aggregate = repository.load(cls, "x") if len(states) > 1 else cls("x")
        before = aggregate.state.model_copy(deep=True)
        try:
            getattr(aggregate, name)(**arguments)
        except Refused:
            assert aggregate.state == before
            continue
        repository.save(aggregate)
        if aggregate.version == len(states):
            states.append(aggregate.state)
        assert repository.snapshot(aggregate) is (aggregate.version > 0)

    history = [stored.event for stored in store.read(key)]
    for version, state in enumerate(states):
        assert round_trip(state) == state
        assert replayed(cls, history[:version]).state == state
        tail = replayed(cls, history[:version])
        tail.state = round_trip(state)
        tail.load_from_history(history[version:])
        assert tail.state == states[-1]
        if version:
            assert repository.load(cls, "x", at_version=version).state == state
    assert (key in store.snapshots) is (len(history) > 0)


@pytest.mark.parametrize("cls", AGGREGATES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_history_however_odd_makes_an_apply_method_fail_or_a_state_that_is_no_json(cls, data):
    kinds = sorted(cls._appliers, key=lambda kind: kind.__name__)
    events = data.draw(st.lists(st.sampled_from(kinds).flatmap(events_of), max_size=8))

    aggregate = cls("x")
    for event in events:
        aggregate._apply(event)

    assert round_trip(aggregate.state) == aggregate.state
