"""The reference handlers over a real server; every event is delivered twice, and the views must not show it."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from busredis.catalog import (
    ActionEvaluatedEvent,
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
    OverrideActivatedEvent,
    PermissionGrantedEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
)
from examples import sshd_audit
from handlers import governance
from tests.waiting import wait_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2150, 1, 1, tzinfo=UTC)


@pytest.fixture
def handle(handle):
    """Publishes each event twice."""
    return lambda *events: handle(*events, *events)


def test_denials_are_counted_once_per_subject_and_alerted(handle, inspect, keys):
    handle(
        *[ActionEvaluatedEvent(decision="DENY", context={"user": "eve"}, occurred_at=NOW) for _ in range(5)],
        ActionEvaluatedEvent(decision="DENY", context={"user": "bob"}, occurred_at=NOW),
        ActionEvaluatedEvent(decision="ALLOW", context={"user": "bob"}, occurred_at=NOW),
        OverrideActivatedEvent(
            override_type="stop", activated_by="root", aggregate_id="o-1", expires_at=LATER
        ),
    )

    assert inspect.hgetall(keys.view("denials")) == {b"eve": b"5", b"bob": b"1"}
    assert set(inspect.hgetall(keys.view("alerts"))) == {b"denials:eve", b"override:o-1"}
    assert inspect.zcard(keys.view("audit-trail")) == inspect.hlen(keys.view("audit-trail:entries")) == 8
    assert inspect.zscore(keys.view("overrides"), "o-1") == LATER.timestamp() * 1000


def test_an_override_is_deactivated_when_it_expires_and_administrators_are_told(handle, inspect, keys):
    ends = datetime.now(UTC) + timedelta(seconds=1)
    handle(
        OverrideActivatedEvent(override_type="stop", aggregate_id="o-1", expires_at=ends),
        OverrideActivatedEvent(override_type="pause", aggregate_id="o-2", expires_at=LATER),
        OverrideActivatedEvent(override_type="skip", aggregate_id="o-3"),
        OverrideActivatedEvent(override_type="old", aggregate_id="o-4", expires_at=NOW),
    )
    # The last one had ended before it was handled.
    assert b"o-4" not in inspect.zrange(keys.view("overrides"), 0, -1)
    wait_until(lambda: datetime.now(UTC) > ends + timedelta(milliseconds=1), "it is due")
    handle()

    assert inspect.zrange(keys.view("overrides"), 0, -1) == [b"o-2", b"o-3"]
    assert inspect.hget(keys.view("alerts"), "override-expired:o-1") == b"override stop has ended"
    [expired] = [
        event
        for _, fields in inspect.xrange(keys.stream("OverrideExpired"))
        if (event := governance.OverrideExpired.from_json(fields[b"event"])).override == "o-1"
    ]
    assert expired.occurred_at == ends
    assert expired.causation_id
    assert inspect.hexists(keys.view("audit-trail:entries"), str(expired.event_id))
    assert inspect.zcard(keys.schedule) == 1


def test_an_override_that_was_prolonged_is_not_deactivated_at_its_first_end(handle, inspect, keys):
    handle(
        OverrideActivatedEvent(override_type="stop", aggregate_id="o-1", expires_at=LATER),
        governance.OverrideExpired(override="o-1", ended_at=NOW),
    )

    assert inspect.zrange(keys.view("overrides"), 0, -1) == [b"o-1"]


def test_the_last_login_is_the_newest_fact_and_many_addresses_are_suspicious(handle, inspect, keys):
    handle(
        *[
            UserLoggedInEvent(
                username="ada", ip_address=f"192.0.2.{n}", occurred_at=NOW + timedelta(minutes=m)
            )
            for n, m in ((1, 0), (3, 30), (2, 10))
        ],
        PermissionGrantedEvent(username="ada", resource="vault", action="read", granted_by="root"),
    )

    assert inspect.hget(keys.view("last-login:ada"), "address") == b"192.0.2.3"
    assert list(inspect.hgetall(keys.view("alerts"))) == [b"logins:ada"]
    assert inspect.zcard(keys.view("authorization-changes:ada")) == 1
    assert inspect.smembers(keys.view("permissions:ada")) == {b"vault read"}
    [grant] = inspect.zrange(keys.view("permission-audit:ada"), 0, -1)
    assert grant.endswith(b" vault read granted by root")


@pytest.mark.parametrize("login_first", [True, False])
def test_a_login_after_many_denials_from_its_address_is_suspicious(handle, inspect, keys, login_first):
    tried = {"user": "root", "address": "192.0.2.1"}
    denied = [ActionEvaluatedEvent(decision="DENY", context=tried, occurred_at=NOW) for _ in range(5)]
    login = UserLoggedInEvent(username="root", ip_address="192.0.2.1", occurred_at=NOW + timedelta(minutes=1))

    for batch in ([login], denied) if login_first else (denied, [login]):
        handle(*batch)

    assert b"guessed:root 192.0.2.1" in inspect.hgetall(keys.view("alerts"))


def test_the_audit_of_a_real_log_agrees_with_a_count_by_hand(handle, inspect, keys):
    lines = (Path(sshd_audit.__file__).with_name("sample_sshd.log")).read_text().splitlines()
    by_address: Counter[str] = Counter()
    for line in lines:
        if re.search(r"sshd\S*: (message repeated \d+ times: \[ )?Failed \S+ for ", line):
            times = re.search(r"message repeated (\d+) times", line)
            by_address[re.findall(r"from (\S+) port", line)[-1]] += int(times[1]) if times else 1

    handle(*sshd_audit.parse(lines, 2025))

    found = {k.decode(): int(v) for k, v in inspect.hgetall(keys.view("denials-by-address")).items()}
    assert found == by_address
    assert inspect.zcard(keys.view("audit-trail")) == by_address.total()


def test_knowledge_is_found_by_word_category_and_source_and_purges_apply(handle, inspect, keys):
    handle(
        ConversationStartedEvent(user_id="ada", initial_message="hello", aggregate_id="c-1"),
        MemoryEntryCreatedEvent(entry_id="m-1", user_message="old", occurred_at=NOW),
        MemoryEntryCreatedEvent(entry_id="m-2", user_message="new", occurred_at=NOW + timedelta(days=2)),
        KnowledgeConsolidatedEvent(
            knowledge_id="k-1", category="law", content="Appeals take time", source_entries=["m-2"]
        ),
    )
    handle(MemoryPurgedEvent(purged_count=1, before_date=NOW + timedelta(days=1)))

    assert inspect.hget(keys.view("user-context:ada"), "conversation") == b"c-1"
    assert inspect.zrange(keys.view("memory"), 0, -1) == [b"m-2"]
    assert not inspect.exists(keys.view("memory:m-1"))
    for view in ("search:appeals", "category:law", "sources:m-2"):
        assert inspect.smembers(keys.view(view)) == {b"k-1"}


def test_workload_is_what_was_assigned_and_not_completed_in_whichever_order_it_comes(handle, inspect, keys):
    handle(
        TaskCompletedEvent(agent_id="a", task_id="t-1", execution_time_ms=5.5),
        TaskAssignedEvent(agent_id="a", task_id="t-1"),
        TaskAssignedEvent(agent_id="a", task_id="t-2"),
    )

    assert inspect.zrange(keys.view("tasks-open:a"), 0, -1) == [b"t-2"]
    assert inspect.zrange(keys.view("tasks-done:a"), 0, -1) == [b"t-1"]
    assert inspect.zscore(keys.view("task-durations:a"), "t-1") == 5.5
