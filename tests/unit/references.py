"""Facts and commands of the reference aggregates: those of one aggregate "x" on one day."""

from datetime import UTC, datetime, timedelta, timezone
from functools import partial

from busredis.catalog import (
    AgentCreatedEvent,
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    OverrideActivatedEvent,
    PermissionGrantedEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
)
from snapshots import Agent, Conversation, Override, User
from snapshots.agent import REMEMBERED

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AGGREGATES = [Agent, Conversation, Override, User]


def at(hours):
    return NOON + hours * HOUR


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

FINISHED = [event for n in range(REMEMBERED) for event in (assigned(f"t{n}"), completed(f"t{n}"))]
