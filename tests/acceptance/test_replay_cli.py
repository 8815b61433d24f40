"""Replays on the command line."""

import json

from busredis import Publisher
from tests.acceptance.ledger import LedgerPaid

MODULE = ("--import", "tests.acceptance.ledger")


def publish(server, namespace, *cents):
    with Publisher(server.url, namespace=namespace) as publisher:
        return publisher.publish_many([LedgerPaid(cents=one) for one in cents])


def total(inspect, keys):
    return {name.decode(): int(value) for name, value in inspect.hgetall(keys.view("ledger-total")).items()}


def test_a_group_is_moved_back_and_daemons_do_it(busredis, server, namespace, inspect, keys):
    ids = publish(server, namespace, 1, 2, 4)
    busredis("run", "tests.acceptance.ledger", "--burst")

    said = busredis("replay", "ledger-total", "--from", ids[1], "--yes", "--no-wait").stdout
    assert f"ledger-total reads again from {ids[1]} in 1 stream(s)" in said
    busredis("run", "tests.acceptance.ledger", "--burst")

    assert total(inspect, keys) == {"cents": 13, "replayed": 2}


def test_read_models_are_rebuilt_from_cold_and_hot_and_switched_over(
    busredis, server, namespace, inspect, keys, tmp_path
):
    publish(server, namespace, 1, 2)
    busredis("run", "tests.acceptance.ledger", "--burst")
    busredis.environment["BUSREDIS_ARCHIVE"] = str(tmp_path / "cold")
    assert "2 entries in" in busredis("archive", "--before", "now").stdout
    publish(server, namespace, 4)
    inspect.hset(keys.view("ledger-total"), "cents", 1_000)

    done = json.loads(
        busredis(
            "replay", "ledger-total", "--from", "beginning", "--shadow", "fresh", *MODULE, "--json"
        ).stdout
    )
    assert done == {"handled": 3, "dead": 0}
    assert total(inspect, keys)["cents"] == 1_000

    done = busredis(
        "replay", "ledger-total", "--from", "beginning", "--shadow", "fresh", "--switch", "--yes", *MODULE
    ).stdout
    assert "1 read model(s) switched over" in done
    busredis("run", "tests.acceptance.ledger", "--burst")
    assert total(inspect, keys)["cents"] == 7


def test_what_cannot_be_is_said(busredis, server, namespace):
    publish(server, namespace, 1)

    assert "for --shadow" in busredis("replay", "x", "--from", "1d", "--to", "now", "--yes", code=2).stderr
    assert (
        "no stream has a group 'x'" in busredis("replay", "x", "--from", "beginning", "--yes", code=1).stderr
    )
    assert (
        "no handler 'x'" in busredis("replay", "x", "--from", "1d", "--shadow", "s", *MODULE, code=2).stderr
    )
