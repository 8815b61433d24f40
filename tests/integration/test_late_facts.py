"""The reference handlers when facts come late, twice, or in any order: the views are those of the facts."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from busredis.catalog import (
    ActionEvaluatedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
    UserLoggedInEvent,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def minutes(number):
    return NOW + timedelta(minutes=number)


def denial(at, who="eve"):
    return ActionEvaluatedEvent(context={"user": who}, occurred_at=minutes(at))


def login(at, address):
    return UserLoggedInEvent(username="ada", ip_address=f"192.0.2.{address}", occurred_at=minutes(at))


def knowledge(at, category, content, sources=()):
    return KnowledgeConsolidatedEvent(
        knowledge_id="k",
        category=category,
        content=content,
        source_entries=[*sources],
        occurred_at=minutes(at),
    )


def test_denials_that_come_in_any_order_raise_the_alert(handle, inspect, keys):
    handle(*[denial(at) for at in (9, 0, 2, 4, 3)], *[denial(at, "bob") for at in (30, 0, 11, 22, 3)])

    assert list(inspect.hgetall(keys.view("alerts"))) == [b"denials:eve"]
    assert inspect.hgetall(keys.view("denials")) == {b"eve": b"5", b"bob": b"5"}


def test_a_late_login_is_compared_with_those_around_it_and_not_with_all_that_followed(handle, inspect, keys):
    handle(login(600, 1), login(1200, 2), login(1800, 3), login(0, 4))
    assert inspect.hgetall(keys.view("alerts")) == {}

    handle(login(580, 5), login(620, 6))
    assert list(inspect.hgetall(keys.view("alerts"))) == [b"logins:ada"]


def test_many_logins_from_one_address_are_no_alert(handle, inspect, keys):
    handle(*[login(at, at % 2) for at in range(30)])

    assert inspect.hgetall(keys.view("alerts")) == {}


def test_a_purged_entry_does_not_come_back_however_late_it_is_delivered(handle, inspect, keys):
    handle(MemoryPurgedEvent(before_date=minutes(10)))

    handle(
        MemoryEntryCreatedEvent(entry_id="old", user_message="secret", occurred_at=minutes(9)),
        MemoryEntryCreatedEvent(entry_id="new", occurred_at=minutes(10)),
        MemoryPurgedEvent(before_date=minutes(5)),
    )

    assert inspect.zrange(keys.view("memory"), 0, -1) == [b"new"]
    assert not inspect.exists(keys.view("memory:old"))


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_a_purge_of_one_conversation_leaves_the_others_alone(handle, inspect, keys, order):
    def entry(name, conversation):
        whose = {"aggregate_type": "Conversation", "aggregate_id": conversation} if conversation else {}
        return MemoryEntryCreatedEvent(entry_id=name, occurred_at=minutes(1), **whose)

    facts = [
        entry("a", "c-1"),
        entry("b", "c-2"),
        entry("c", None),
        MemoryPurgedEvent(before_date=minutes(10), aggregate_type="Conversation", aggregate_id="c-1"),
    ]

    handle(*[facts[number] for number in order])

    assert inspect.zrange(keys.view("memory"), 0, -1) == [b"b", b"c"]
    assert not inspect.exists(keys.view("memory-of:c-1"))
    assert inspect.zrange(keys.view("memory-of:c-2"), 0, -1) == [b"b"]
    handle(MemoryPurgedEvent(before_date=minutes(10)))
    assert not inspect.exists(keys.view("memory"), keys.view("memory-of:c-2"), keys.view("memory:b"))


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_knowledge_is_found_by_its_newest_wording_alone(handle, inspect, keys, order):
    facts = [
        knowledge(0, "law", "appeals take time", ["m-1"]),
        knowledge(1, "law", "appeals cost money"),
        knowledge(2, "court", "appeals cost time", ["m-2"]),
    ]

    handle(*[facts[number] for number in order])

    found = {
        view: inspect.smembers(keys.view(view)) for view in ("search:appeals", "search:cost", "search:time")
    }
    assert set(map(frozenset, found.values())) == {frozenset({b"k"})}
    assert (
        inspect.smembers(keys.view("category:court")) == inspect.smembers(keys.view("sources:m-2")) == {b"k"}
    )
    for gone in ("search:take", "search:money", "category:law", "sources:m-1"):
        assert not inspect.exists(keys.view(gone))
    assert inspect.hget(keys.view("knowledge:k"), "content") == b"appeals cost time"


def test_a_handler_that_died_between_its_writes_completes_them_when_it_runs_again(handle, inspect, keys):
    fact = knowledge(0, "law", "appeals")
    handle(fact)
    inspect.delete(keys.view("category:law"), keys.view("knowledge-links:k"))

    inspect.xgroup_setid(keys.stream("KnowledgeConsolidatedEvent"), "knowledge", "0")
    inspect.delete(keys.checkpoint("knowledge"))
    handle()

    assert inspect.smembers(keys.view("category:law")) == {b"k"}
