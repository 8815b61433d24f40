"""The command line as a user meets it: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SHOP = "tests.acceptance.shop"


def sell(busredis, *cents: int) -> None:
    lines = [json.dumps({"event_type": "ShopSold", "payload": {"item": "tea", "cents": c}}) for c in cents]
    busredis("publish", "--jsonl", "-", "--import", SHOP, given="\n".join(lines).encode())


def test_an_event_is_published_run_and_seen_in_status(busredis, inspect, keys):
    entry_id = busredis(
        "publish", "ShopSold", '{"item": "tea", "cents": 300}', "--import", SHOP
    ).stdout.strip()
    busredis("run", SHOP, "--burst")

    status = json.loads(busredis("status", "--json").stdout)
    assert [(s["event_type"], s["length"], s["last_id"]) for s in status["streams"]] == [
        ("ShopSold", 1, entry_id)
    ]
    [group] = status["groups"]
    assert (group["group"], group["lag"], group["pending"], group["waiting"], group["dead"]) == (
        "till",
        0,
        0,
        0,
        0,
    )
    assert (group["times"]["count"], group["times"]["outcomes"]) == (1, {"ack": 1})
    assert "till" in busredis("status").stdout
    [line] = busredis("tail").stdout.splitlines()
    assert json.loads(line)["id"] == entry_id
    assert busredis("tail", "-n", "0").stdout == ""


def test_dead_letters_are_listed_shown_retried_and_discarded(busredis, inspect, keys):
    sell(busredis, 1, -1, -2)
    busredis("run", f"{SHOP}:router", "--burst", "--log-format", "json")

    letters = json.loads(busredis("dead", "ls", "--json").stdout)
    assert [(x["reason"], x["error"], x["attempts"]) for x in letters] == [
        ("failed", "ValueError: negative", 2)
    ] * 2
    assert "negative" in busredis("dead", "ls", "till").stdout
    first, second = (letter["id"] for letter in letters)
    assert "ValueError: negative" in busredis("dead", "show", "till", first).stdout
    busredis("dead", "retry", "till", first)
    assert inspect.xpending(keys.stream("ShopSold"), "till")["pending"] == 1
    busredis("run", SHOP, "--burst")
    again = json.loads(busredis("dead", "ls", "--json").stdout)
    assert again[0]["id"] == second
    assert [letter["attempts"] for letter in again] == [2, 2]
    busredis("dead", "discard", "till", "all", "--yes")
    assert json.loads(busredis("dead", "ls", "--json").stdout) == []
    assert "retried or discarded already" in busredis("dead", "show", "till", first, code=1).stderr


def test_a_bad_line_stops_the_run_and_what_was_good_before_it_is_published(busredis, inspect, keys):
    good = '{"event_type": "ShopSold", "payload": {"cents": 1}}'
    given = f"{good}\n\n{good}\n{{broken\n{good}\n".encode()

    done = busredis("publish", "--jsonl", "-", "--import", SHOP, given=given, code=1)

    assert "line 4 is no event" in done.stderr
    assert "published 2 event(s) before the bad line" in done.stderr
    assert inspect.xlen(keys.stream("ShopSold")) == 2


def test_bad_lines_go_to_the_rejects_and_every_good_line_is_published(busredis, inspect, keys, tmp_path):
    good = '{"event_type": "ShopSold", "payload": {"cents": 1}}'
    bad = [
        '{"event_type": "Nope", "payload": {}}',
        '{"event_type": "ShopSold", "payload": {"cents": "1"}}',
        "\u00e9[",
    ]
    file, rejects = tmp_path / "events.jsonl", tmp_path / "rejects.jsonl"
    file.write_text("\n".join([good, bad[0], good, bad[1], bad[2]]))

    done = busredis("publish", "--jsonl", str(file), "--import", SHOP, "--rejects", str(rejects), code=1)

    assert "3 bad line(s) rejected" in done.stderr
    assert rejects.read_text().splitlines() == bad
    assert inspect.xlen(keys.stream("ShopSold")) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["publish", "Nope", "{}"], 1, "no event class is registered for 'Nope'"),
        (["publish", "Nope", "{}"], 1, "name the module that has its class: --import shop.events"),
        (["publish", "ShopSold", "{", "--import", SHOP], 1, "the JSON is no event"),
        (
            ["publish", "ShopSold", '{"itm": "tea"}', "--import", SHOP],
            1,
            "ShopSold has no field 'itm'; it has cents, item",
        ),
        (
            ["publish", "ShopSold", '{"payload": {}, "aggregat_id": "a"}', "--import", SHOP],
            1,
            "no field 'aggregat_id'",
        ),
        (["publish"], 2, "name an event type"),
        (["publish", "--jsonl", "/nowhere.jsonl"], 2, "No such file"),
        (["publish", "X", "{}", "--import", "nowhere"], 2, "No module named 'nowhere'"),
        (["run", "nowhere"], 2, "no module 'nowhere' here or on the Python path: it is nowhere.py"),
        (["run", "tests/acceptance/shop.py"], 2, "write a module, not a file: tests.acceptance.shop"),
        (["schedule", "add", "ShopSold", "{}", "--import", SHOP], 2, "--at 2026-01-31T12:00 or --in 2h"),
        (["run", f"{SHOP}:not_a_router"], 2, "is no Router"),
        (["run", "json"], 2, "no Router in it"),
        (["run", SHOP, "--group", "x"], 2, "no handler is named x"),
        (["run", SHOP, "--log-level", "LOUD"], 2, "--log-level LOUD"),
        (["status", "--url", "localhost:6379"], 2, "no scheme"),
        (["status", "--namespace", "a b"], 2, "namespace"),
        (["status", "--url", "redis://127.0.0.1:1/0"], 1, "no connection to redis://127.0.0.1:1/0"),
        (["status", "--url", "redis://127.0.0.1:1/0"], 1, "'busredis up' starts a server"),
        (["doctor", "--url", "redis://127.0.0.1:1/0"], 1, "does a server run there"),
        (["replay", "till", "--from", "7d", "--shadow", "x"], 2, "no handler 'till'"),
        (["dead", "show", "till", "1-1"], 1, "no dead letter 1-1"),
        (["dead", "show", "till", "1-1"], 1, "'busredis dead ls till' lists those that it has"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_an_exit_code(busredis, arguments, code, message):
    assert message in busredis(*arguments, code=code).stderr


@pytest.mark.parametrize(
    "command", [[], ["run"], ["publish"], ["status"], ["tail"], ["dead"], ["dead", "retry"], ["up"]]
)
def test_every_command_explains_itself(busredis, command):
    assert "Usage" in busredis(*command, "--help").stdout


def test_several_processes_share_the_work_a_crashed_one_is_replaced_and_sigterm_drains_all(
    busredis, server, inspect, keys
):
    command = [sys.executable, "-m", "busredis", "run", SHOP, "--processes", "2", "--log-level", "INFO"]
    supervisor = subprocess.Popen(command, cwd=ROOT, env=busredis.environment, stderr=subprocess.PIPE)

    def children() -> list[bytes]:
        found = subprocess.run(["pgrep", "-P", str(supervisor.pid)], capture_output=True, check=False)
        return found.stdout.split()

    try:
        wait_until(lambda: len(children()) == 2, "two processes run")
        first = children()[0]
        os.kill(int(first), signal.SIGKILL)
        wait_until(lambda: len(children()) == 2 and first not in children(), "the dead one is replaced")
        sell(busredis, *range(50))
        wait_until(lambda: _is_read(inspect, keys.stream("ShopSold")), "all is read")
        wait_until(
            lambda: inspect.xpending(keys.stream("ShopSold"), "till")["pending"] == 0, "all is handled"
        )
    finally:
        supervisor.send_signal(signal.SIGTERM)
        _, errors = supervisor.communicate(timeout=30)
    assert supervisor.returncode == 0, errors.decode()
    assert b"is replaced" in errors


def _is_read(inspect, stream: str) -> bool:
    last = inspect.xinfo_stream(stream)["last-generated-id"]
    return [group["last-delivered-id"] for group in inspect.xinfo_groups(stream)] == [last]


@pytest.mark.timeout(100)
def test_the_demo_adds_up(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BUSREDIS_U", "REDIS_URL"))}
    program = [sys.executable, "-m", "busredis"]
    try:
        done = subprocess.run(
            [*program, "demo"], cwd=tmp_path, env=environment, capture_output=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        assert b"LOST" not in done.stdout
        assert b"dead letter: TaskCompletedEvent" in done.stdout
        up = subprocess.run([*program, "up"], cwd=tmp_path, env=environment, capture_output=True, check=True)
        assert b"redis-cli -p" in up.stdout or b"valkey-cli -p" in up.stdout
    finally:
        subprocess.run([*program, "down"], cwd=tmp_path, env=environment, check=True)


def test_a_group_without_dead_letters_is_told_those_that_have_some(busredis, inspect):
    sell(busredis, -1)
    busredis("run", SHOP, "--burst")

    for command in (["ls", "tll"], ["retry", "tll", "all"], ["discard", "tll", "all", "--yes"]):
        told = busredis("dead", *command).stdout
        assert told == "group 'tll' has no dead letters; those that have some: till\n"


def test_following_begins_before_there_is_anything(busredis, inspect, keys):
    command = [sys.executable, "-m", "busredis", "tail", "-f"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=busredis.environment)
    try:
        sell(busredis, 5)
        assert json.loads(follower.stdout.readline())["event_type"] == "ShopSold"
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()
