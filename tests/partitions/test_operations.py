"""Retention, groups and the schedule of several partitions, on the command line."""

import json
from datetime import timedelta

import pytest

from busredis import Daemon, DomainEvent, Publisher, Retention, Router
from busredis.commands import raw
from busredis.errors import BusError, PartlyDone
from busredis.groups import Group, find_groups_everywhere, prune_everywhere
from busredis.keys import Keys
from busredis.retention import set_retention
from busredis.status import read_status
from tests.meddled import meddled
from tests.partitions.conftest import COUNT, FAST

HOUR = timedelta(hours=1)


class PartStored(DomainEvent):
    number: int = 0


@pytest.fixture
def stored(publisher, parts):
    """A hundred events; the streams of the partitions."""
    publisher.publish_many([PartStored(number=n, aggregate_id=f"a-{n}") for n in range(100)])
    return [keys.stream("PartStored") for keys in parts]


def listed(cli):
    return {row["event_type"]: row for row in json.loads(cli("retention", "ls", "--json"))}


def lengths(look, streams):
    return [look.xlen(stream) for stream in streams]


def test_a_retention_is_set_once_and_holds_in_all_partitions(cli, look, parts, stored):
    assert "max-length 2, in each of 4 partitions" in cli(
        "retention", "set", "PartStored", "--max-length", "2"
    )

    assert [look.hget(keys.retention, "PartStored") for keys in parts] == [b"max-length 2"] * COUNT
    assert listed(cli)["PartStored"] == {
        "event_type": "PartStored",
        "retention": "max-length 2",
        "entries": 100,
        "pinned_by": "",
    }
    for stream in stored:
        look.xgroup_create(stream, "audit", id="$" if stream != stored[1] else "0")
    was = lengths(look, stored)
    assert listed(cli)["PartStored"]["pinned_by"] == "group audit"
    assert "pinned by group audit" in cli("retention", "apply")
    assert lengths(look, stored) == [2, was[1], 2, 2]
    look.xgroup_setid(stored[1], "audit", "$")
    assert json.loads(cli("retention", "apply", "--json")) == {
        "PartStored": {"removed": was[1] - 2, "pinned_by": ""}
    }
    assert lengths(look, stored) == [2] * COUNT
    cli("retention", "set", "*", "--max-age", "30d")
    cli("retention", "set", "Other", "--keep")
    assert {name: row["retention"] for name, row in listed(cli).items()} == {
        "*": "max-age 2592000s",
        "Other": "keep",
        "PartStored": "max-length 2",
    }


def test_a_retention_that_was_set_in_part_is_said_to_differ_and_set_by_the_same_again(
    cli, look, parts, stored, client
):
    client.run(set_retention(parts[0], "PartStored", Retention(acked=True)))
    look.set(parts[2].retention, "no hash")

    with pytest.raises(
        PartlyDone, match=r"partition 2: .*WRONGTYPE.*; done in partition 0-1, 3; the same again"
    ):
        cli("retention", "set", "PartStored", "--keep")

    look.delete(parts[2].retention)
    cli("retention", "set", "*", "--acked")
    client.run(set_retention(parts[0], "PartStored", Retention(max_length=7)))
    differs = "differs between partitions, set it again: acked; keep; max-length 7"
    assert listed(cli)["PartStored"]["retention"] == differs
    assert [stream.retention for stream in client.run(read_status(parts)).streams] == [differs]
    cli("retention", "set", "PartStored", "--keep")
    assert listed(cli)["PartStored"]["retention"] == "keep"


def test_what_is_set_first_of_all_holds_for_the_partitions_that_it_was_set_for(
    cli, look, parts, namespace, monkeypatch, server
):
    monkeypatch.setenv("BUSREDIS_PARTITIONS", str(COUNT))
    cli("retention", "set", "PartStored", "--acked")
    monkeypatch.delenv("BUSREDIS_PARTITIONS")

    assert look.get(Keys(namespace).partitions) == b"4"
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([PartStored(number=n) for n in range(50)])
    assert listed(cli)["PartStored"] == {
        "event_type": "PartStored",
        "retention": "acked",
        "entries": 50,
        "pinned_by": "nobody",
    }


def test_daemons_trim_every_partition_and_never_what_a_group_needs(
    cli, look, parts, stored, server, namespace
):
    cli("retention", "set", "PartStored", "--acked")
    router, seen = Router(), []
    router.on(PartStored, name="reads")(lambda event: seen.append(event.number))
    look.xgroup_create(stored[3], "slow", id="0")

    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    cli("retention", "apply")

    assert sorted(seen) == list(range(100))
    assert lengths(look, stored) == [0, 0, 0, lengths(look, stored)[3]]
    assert lengths(look, stored)[3] > 0


def test_groups_of_all_partitions_are_listed_and_removed_together(cli, look, parts, stored):
    for stream in stored:
        look.xgroup_create(stream, "old", id="0")
    look.xreadgroup("old", "c", {stored[0]: ">"}, count=3)
    look.xreadgroup("old", "c", {stored[2]: ">"}, count=2)
    look.sadd(parts[1].groups, "old", "lost")
    look.hset(parts[1].checkpoint("lost"), stored[1], "5-5")

    groups = {group["name"]: group for group in json.loads(cli("groups", "ls", "--json"))}
    assert groups["old"]["event_types"] == ["PartStored"]
    assert (groups["old"]["open"], groups["old"]["silent"] < 60, groups["lost"]["silent"]) == (5, True, None)
    assert "no such groups" in cli("groups", "prune", "old")
    assert "old" in cli("groups", "prune", "old", "--silent", "0", "--dry-run")
    assert all(look.xinfo_groups(stream) for stream in stored)
    assert json.loads(cli("groups", "prune", "--silent", "0", "--yes", "--json"))["pruned"] == ["lost", "old"]

    assert [look.xinfo_groups(stream) for stream in stored] == [[]] * COUNT
    assert not look.exists(*(keys.groups for keys in parts), parts[1].checkpoint("lost"))
    assert json.loads(cli("groups", "ls", "--json")) == []


def test_a_group_that_is_seen_in_one_partition_is_kept_in_all(cli, look, parts, stored, client):
    for stream in stored:
        look.xgroup_create(stream, "alive", id="0")
    before = [look.xinfo_groups(stream) for stream in stored]
    [looked_at] = client.run(find_groups_everywhere(parts))
    assert looked_at.silent is None
    look.xreadgroup("alive", "c", {stored[3]: ">"}, count=1)

    assert not client.run(prune_everywhere(parts, looked_at, HOUR))

    assert [group["name"] for group in json.loads(cli("groups", "ls", "--json"))] == ["alive"]
    assert [len(look.xinfo_groups(stream)) for stream in stored] == [len(rows) for rows in before]


def test_a_group_is_as_silent_as_where_it_was_seen_last(parts, client, monkeypatch):
    silent = dict(zip(parts, (50.0, None, 5.0, 7.0), strict=True))

    def one_partition(keys, _streams):
        yield from raw("PING")
        return [Group("g", ["PartStored"], 1, silent[keys])]

    monkeypatch.setattr("busredis.groups._find_groups", one_partition)

    assert client.run(find_groups_everywhere(parts)) == [Group("g", ["PartStored"], 4, 5.0)]


def test_a_group_that_comes_back_while_it_is_removed_is_said_and_left_where_it_is(
    look, parts, stored, client
):
    for stream in stored:
        look.xgroup_create(stream, "back", id="0")

    def come_back(request):
        touched = [part for command in request.commands if command[0] == "EVALSHA" for part in command]
        if stored[2] in touched and not look.xinfo_consumers(stored[2], "back"):
            look.xreadgroup("back", "c", {stored[2]: ">"}, count=1)

    with pytest.raises(
        PartlyDone,
        match=r"partition 2: group back: a consumer was seen meanwhile.*in 3; done in partition 0-1",
    ):
        client.run(meddled(prune_everywhere(parts, Group("back", ["PartStored"]), HOUR), come_back))

    assert [len(look.xinfo_groups(stream)) for stream in stored] == [0, 0, 1, 1]


def test_the_schedule_of_all_partitions_is_one_list(cli, look, parts, publisher, server, namespace):
    publisher.publish(PartStored())
    for number in range(12):
        cli(
            "schedule",
            "add",
            "PartStored",
            f'{{"number": {number}}}',
            "--in",
            f"{100 - number}m",
            "--key",
            f"k-{number}",
        )
    assert sum(look.zcard(keys.schedule) for keys in parts) == 12
    assert sum(look.zcard(keys.schedule) > 0 for keys in parts) > 1

    assert [one["id"] for one in json.loads(cli("schedule", "ls", "--json"))] == [
        f"k-{n}" for n in reversed(range(12))
    ]
    assert [one["id"] for one in json.loads(cli("schedule", "ls", "--limit", "3", "--json"))] == [
        "k-11",
        "k-10",
        "k-9",
    ]
    for number in range(6):
        assert json.loads(cli("schedule", "cancel", f"k-{number}", "--json"))["cancelled"]
    with pytest.raises(BusError, match="appended or cancelled already"):
        cli("schedule", "cancel", "k-3")
    assert "6 scheduled event(s)" in cli("schedule", "ls")
    assert cli("schedule", "add", "PartStored", "{}", "--in", "0", "--key", "now").strip() == "now"
    router, seen = Router(), []
    router.on(PartStored, name="all")(lambda event: seen.append(event.number))
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    assert len(seen) == 2
    assert len(json.loads(cli("schedule", "ls", "--json"))) == 6
