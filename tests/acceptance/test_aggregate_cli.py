"""Aggregates and snapshots on the command line."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from busredis import EventStore, Repository
from busredis.keys import parse_id
from snapshots import Override, User
from tests.acceptance.conftest import ROOT
from tests.waiting import wait_until


@pytest.fixture
def repository(server, namespace, inspect):
    with EventStore(server.url, namespace=namespace) as store:
        yield Repository(store)


def registered(repository, name="ada", logins=3):
    user = User(name)
    user.register(name, email=f"{name}@example.org", role="auditor")
    repository.save(user)
    for number in range(logins):
        user.log_in(session_id=f"s{number}", ip_address="10.0.0.1")
    repository.save(user)
    return user


def test_an_aggregate_is_shown_as_it_is_and_as_it_was(busredis, repository):
    user = registered(repository)
    stored = list(repository.store.read(user.key))

    shown = json.loads(busredis("aggregate", "show", "User", "ada", "--json").stdout)
    assert (shown["type"], shown["id"], shown["version"]) == ("User", "ada", 4)
    assert shown["state"] == user.state.model_dump(mode="json")

    old = json.loads(busredis("aggregate", "show", "User", "ada", "--at-version", "1", "--json").stdout)
    assert (old["version"], old["state"]["logins"]) == (1, 0)
    later = datetime.fromtimestamp(parse_id(stored[-1].position)[0] / 1000 + 1, UTC)
    for at in (later.isoformat(), later.replace(tzinfo=None).isoformat()):
        shown = json.loads(busredis("aggregate", "show", "User", "ada", "--at", at, "--json").stdout)
        assert shown["version"] == 4

    text = busredis("aggregate", "show", "User", "ada").stdout
    assert "User ada  version 4" in text
    assert "ada@example.org" in text


def test_a_history_has_versions_times_events_and_who(busredis, repository):
    override = Override("o-1")
    override.activate("kill-switch", "a drill", by="grace", expires_at=datetime.now(UTC) + timedelta(hours=1))
    repository.save(override)

    [row] = json.loads(busredis("aggregate", "history", "Override", "o-1", "--json").stdout)
    assert (row["version"], row["event_type"]) == (1, "OverrideActivatedEvent")
    assert row["payload"]["activated_by"] == "grace"
    text = busredis("aggregate", "history", "Override", "o-1").stdout
    assert "OverrideActivatedEvent" in text
    assert "grace" in text

    registered(repository, logins=20)
    rows = json.loads(busredis("aggregate", "history", "User", "ada", "-n", "5", "--json").stdout)
    assert [row["version"] for row in rows] == [17, 18, 19, 20, 21]
    rows = json.loads(busredis("aggregate", "history", "User", "ada", "--after", "19", "--json").stdout)
    assert [row["version"] for row in rows] == [20, 21]
    assert "no events of User nobody" in busredis("aggregate", "history", "User", "nobody").stdout


def test_a_diff_shows_what_changed_and_nothing_else(busredis, repository):
    registered(repository)

    changes = json.loads(busredis("aggregate", "diff", "User", "ada", "1", "2", "--json").stdout)
    by_path = {change["path"]: (change["before"], change["after"]) for change in changes}
    assert by_path["logins"] == (0, 1)
    assert "email" not in by_path
    assert "logins" in busredis("aggregate", "diff", "User", "ada", "1", "2").stdout
    assert "have the same state" in busredis("aggregate", "diff", "User", "ada", "2", "2").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["aggregate", "show", "User", "nobody"], 1, "User 'nobody': it has no events"),
        (
            ["aggregate", "show", "Nope", "x"],
            2,
            "no aggregate 'Nope'; there are Agent, Conversation, Override, User",
        ),
        (["aggregate", "show", "User", "ada", "--at", "soon"], 2, "--at soon: a time is written"),
        (["aggregate", "show", "User", "ada", "--at-version", "0"], 2, "--at-version"),
        (
            ["aggregate", "show", "User", "ada", "--at-version", "9"],
            1,
            "at version 4 and has no version 9 yet",
        ),
        (["aggregate", "show", "User", "ada", "--at", "2001-01-01"], 1, "it did not exist at 2001-01-01"),
        (["aggregate", "diff", "User", "ada", "1", "9"], 1, "has no version 9 yet"),
        (["aggregate", "show", "User", "x", "--import", "no.such"], 2, "no module 'no.such'"),
        (["aggregate", "show", "User", "x", "--import", "json"], 2, "json: no aggregate in it"),
        (["snapshots", "rebuild", "Nope"], 2, "no aggregate 'Nope'"),
        (["snapshots", "run", "json"], 2, "json: no aggregate in it"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(busredis, repository, arguments, code, message):
    registered(repository)
    assert message in busredis(*arguments, code=code).stderr


def test_snapshots_are_listed_rebuilt_and_dropped(busredis, repository, inspect, keys):
    for name in ("ada", "bob"):
        user = registered(repository, name)
    assert json.loads(busredis("snapshots", "rebuild", "--json").stdout) == {"rebuilt": 2, "failed": {}}
    user.log_in(session_id="new", ip_address="10.0.0.2")
    repository.save(user)

    found = json.loads(busredis("snapshots", "ls", "--json").stdout)
    assert [(x["type"], x["id"], x["version"], x["history_version"]) for x in found] == [
        ("User", "ada", "4", 4),
        ("User", "bob", "4", 5),
    ]
    assert "2 of 2 snapshot(s)" in busredis("snapshots", "ls", "User").stdout
    inspect.hset(keys.snapshot("User", "bob"), "state", '{"logins": 99}')
    assert "rebuilt 1 snapshot(s)" in busredis("snapshots", "rebuild", "User", "bob").stdout
    assert repository.load(User, "bob").state == user.state

    assert json.loads(busredis("snapshots", "drop", "User", "ada", "--yes", "--json").stdout) == {
        "dropped": 1
    }
    assert busredis("snapshots", "drop", given=b"n\n", code=1).stdout.startswith("delete 1 snapshot(s)?")
    assert "dropped 1 snapshot(s)" in busredis("snapshots", "drop", given=b"y\n").stdout
    assert json.loads(busredis("snapshots", "ls", "--json").stdout) == []
    assert repository.load(User, "ada").version == 4


def test_one_that_cannot_be_rebuilt_is_named_and_the_others_are_rebuilt(busredis, repository, inspect, keys):
    for name in ("ada", "bob"):
        registered(repository, name)
    inspect.lpop(keys.aggregate("User", "ada"))

    done = busredis("snapshots", "rebuild", code=1)

    assert "rebuilt 1 snapshot(s)" in done.stdout
    assert "failed: User ada: User 'ada': version" in done.stdout


def test_status_weighs_references_and_snapshots(busredis, repository):
    for name in ("ada", "bob"):
        repository.snapshot(registered(repository, name, logins=200))

    [row] = json.loads(busredis("status", "--json").stdout)["aggregates"]
    assert (row["type"], row["aggregates"], row["snapshots"]) == ("User", 2, 2)
    assert 10 < row["bytes_per_reference"] < 200
    assert 100 < row["bytes_per_snapshot"] < 5_000
    assert "bytes/reference" in busredis("status").stdout


def test_the_snapshot_daemon_takes_what_is_there_and_what_comes(busredis, repository, server, namespace):
    registered(repository, "old", logins=150)
    busredis("snapshots", "drop", "--yes")
    command = [sys.executable, "-m", "busredis", "snapshots", "run", "snapshots"]
    daemon = subprocess.Popen(command, cwd=ROOT, env=busredis.environment, stderr=subprocess.PIPE)

    def versions():
        found = json.loads(busredis("snapshots", "ls", "--json").stdout)
        return {one["id"]: int(one["version"]) for one in found}

    try:
        wait_until(lambda: versions() == {"old": 151}, "the first pass snapshots what is there")
        user = User("new")
        user.register("new", email="n@example.org", role="user")
        for number in range(120):
            user.log_in(session_id=f"s{number}", ip_address="10.0.0.1")
        # As another program would: a save of ours would take a snapshot itself.
        repository.store.append(user.key, 0, user.get_uncommitted_events())
        wait_until(lambda: versions() == {"old": 151, "new": 121}, "the daemon snapshots what has grown")
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=30)
    assert daemon.returncode == 0, err.decode()
    # The pass or the handler, whichever came first; that a pass alone does it is shown with --burst.
    assert "pass done: 1 aggregates, " in err.decode()
    assert "snapshots written, 0 could not be" in err.decode()


def test_one_pass_and_the_events_in_a_burst(busredis, repository, inspect, keys):
    registered(repository, "ada", logins=150)
    registered(repository, "bob", logins=20)
    busredis("snapshots", "drop", "--yes")

    done = busredis("snapshots", "run", "snapshots", "--burst")

    assert [one["id"] for one in json.loads(busredis("snapshots", "ls", "--json").stdout)] == ["ada"]
    assert "pass done: 2 aggregates, 1 snapshots written" in done.stderr
    assert inspect.xpending(keys.stream("UserLoggedInEvent"), "snapshots")["pending"] == 0
