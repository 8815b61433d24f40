"""The schedule as a user of the command line meets it."""

import json
import time

from tests.waiting import wait_until

SHOP = "tests.acceptance.shop"
TEA = '{"item": "tea", "cents": 5}'


def test_events_are_scheduled_listed_cancelled_and_appended_by_a_daemon(busredis, inspect, keys):
    soon = busredis("schedule", "add", "ShopSold", TEA, "--in", "500ms", "--import", SHOP).stdout.strip()
    added = busredis(
        "schedule", "add", "ShopSold", TEA, "--at", "2150-01-01", "--key", "k", "--json", "--import", SHOP
    )
    assert json.loads(added.stdout) == {"id": "k"}

    rows = json.loads(busredis("schedule", "ls", "--json").stdout)
    assert [(row["id"], row["event_type"]) for row in rows] == [(soon, "ShopSold"), ("k", "ShopSold")]
    assert rows[1]["at"] == "2150-01-01T00:00:00+00:00"
    assert rows[1]["event"]["payload"] == {"item": "tea", "cents": 5}
    assert "Schedule: 2 event(s) wait" in busredis("status").stdout
    wait_until(lambda: inspect.zcount(keys.schedule, 0, time.time() * 1000) == 1, "the first is due")
    schedule = json.loads(busredis("status", "--json").stdout)["schedule"]
    assert (schedule["waiting"], schedule["overdue"] > 0) == (2, True)
    assert "2150-01-01 00:00:00" in busredis("schedule", "ls").stdout
    assert json.loads(busredis("schedule", "cancel", "k", "--json").stdout) == {"id": "k", "cancelled": True}
    assert "appended or cancelled already" in busredis("schedule", "cancel", "k", code=1).stderr
    busredis("run", SHOP, "--burst")
    assert inspect.xlen(keys.stream("ShopSold")) == 1
    assert "nothing is scheduled" in busredis("schedule", "ls").stdout


def test_what_cannot_be_scheduled_is_said_in_one_sentence(busredis, inspect, keys):
    for options, code, message in (
        (["--in", "soon"], 2, "--in soon: a number and a unit"),
        (["--at", "tomorrow"], 2, "--at tomorrow: a time in ISO 8601"),
        ([], 2, "say when, in one of two ways"),
        (["--in", "5", "--at", "2150-01-01"], 2, "say when, in one of two ways"),
    ):
        done = busredis("schedule", "add", "ShopSold", TEA, *options, "--import", SHOP, code=code)
        assert message in done.stderr
    assert (
        "no event class is registered" in busredis("schedule", "add", "Nope", TEA, "--in", "5", code=1).stderr
    )
    assert not inspect.exists(keys.schedule)
