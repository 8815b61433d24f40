"""Retention and groups as a user of the command line meets them."""

import json

from tests.acceptance.test_cli import sell

SHOP = "tests.acceptance.shop"


def rows(busredis):
    return {row["event_type"]: row for row in json.loads(busredis("retention", "ls", "--json").stdout)}


def test_a_retention_is_set_listed_applied_and_its_pin_named(busredis, inspect, keys):
    stream = keys.stream("ShopSold")
    sell(busredis, *range(1, 6))
    assert rows(busredis)["ShopSold"]["retention"] == "keep"
    assert "max-length 2" in busredis("retention", "set", "ShopSold", "--max-length", "2").stdout
    inspect.xgroup_create(stream, "audit", id="0")

    assert "pinned by group audit" in busredis("retention", "apply").stdout
    assert rows(busredis)["ShopSold"]["pinned_by"] == "group audit"
    status = json.loads(busredis("status", "--json").stdout)["streams"][0]
    assert (status["retention"], status["pinned_by"]) == ("max-length 2", "group audit")
    assert "group audit" in busredis("status").stdout
    assert inspect.xlen(stream) == 5
    inspect.xgroup_setid(stream, "audit", "$")
    applied = json.loads(busredis("retention", "apply", "--json").stdout)
    assert applied == {"ShopSold": {"removed": 3, "pinned_by": ""}}
    assert "ShopSold" in busredis("retention", "ls").stdout

    busredis("retention", "set", "ShopSold", "--acked")
    busredis("retention", "set", "*", "--max-age", "30d")
    busredis("retention", "set", "Other", "--keep")
    assert {name: row["retention"] for name, row in rows(busredis).items()} == {
        "*": "max-age 2592000s",
        "Other": "keep",
        "ShopSold": "acked",
    }


def test_what_is_no_retention_is_refused_in_one_sentence(busredis, inspect, keys):
    for options, message in (
        ([], "say one of"),
        (["--keep", "--acked"], "say one of"),
        (["--max-age", "old"], "--max-age old: a number and a unit"),
        (["--max-age", "0"], "at least 1 ms"),
        (["--keep", "--histories"], "histories without a limit"),
    ):
        assert message in busredis("retention", "set", "ShopSold", *options, code=2).stderr
    assert "is not a name" in busredis("retention", "set", "a b", "--acked", code=2).stderr
    assert "type by type" in busredis("retention", "set", "*", "--acked", "--histories", code=2).stderr
    assert not inspect.exists(keys.retention)


def test_abandoned_groups_are_shown_and_removed_after_a_question(busredis, inspect, keys):
    sell(busredis, 1, 2)
    inspect.xgroup_create(keys.stream("ShopSold"), "old", id="0")
    inspect.xreadgroup("old", "c", {keys.stream("ShopSold"): ">"}, count=1)
    busredis("run", SHOP, "--burst")

    groups = {group["name"]: group for group in json.loads(busredis("groups", "ls", "--json").stdout)}
    assert (groups["old"]["open"], groups["till"]["event_types"]) == (1, ["ShopSold"])
    assert "no such groups" in busredis("groups", "prune").stdout
    assert "old" in busredis("groups", "prune", "old", "--silent", "0", "--dry-run").stdout
    busredis("groups", "prune", "old", "--silent", "0", given=b"n\n", code=1)
    assert "there is no group older" in busredis("groups", "prune", "older", code=2).stderr
    assert "--silent soon" in busredis("groups", "prune", "--silent", "soon", code=2).stderr
    assert len(inspect.xinfo_groups(keys.stream("ShopSold"))) == 2
    assert "removed old" in busredis("groups", "prune", "old", "--silent", "0", given=b"y\n").stdout
    done = busredis("groups", "prune", "--silent", "0", "--yes", "--json")
    assert json.loads(done.stdout)["pruned"] == ["till"]
    assert inspect.xinfo_groups(keys.stream("ShopSold")) == []
