"""The states of the reference aggregates: what they answer, what they keep and what they forget."""

from datetime import UTC, datetime, timedelta

import pytest

from snapshots import Agent, Conversation, Override, User
from snapshots.agent import REMEMBERED
from snapshots.user import ADDRESSES
from tests.unit.references import (
    EAST,
    FINISHED,
    NOON,
    assigned,
    at,
    completed,
    created,
    entry,
    granted,
    known,
    logged_in,
    overridden,
    registered,
    started,
)


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


def test_a_purge_keeps_later_entries_and_what_was_distilled_from_the_others():
    conversation = Conversation("x")
    conversation.load_from_history([started(), entry("e1", 1), entry("e2", 2), known()])

    conversation.purge(by="bob", before=at(2), now=at(9))
    conversation.purge(by="bob", before=at(2), now=at(9))

    assert conversation.state.entries == {"e2": at(2)}
    assert (conversation.state.created, conversation.state.purged) == (2, 1)
    assert conversation.state.knowledge["k"].wordings == 1
    assert len(conversation.get_uncommitted_events()) == 1
