"""Shadows over several partitions: read models are rebuilt from all of them and switched over in each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict

import pytest

from busredis import Router
from busredis.daemon.shadow import Shadow
from busredis.errors import PartlyDone, PositionGone, ReplayRefused, SettingsError
from busredis.lua import load
from busredis.replay import Rebuilt, switch_everywhere
from busredis.retention import trim_before
from busredis.settings import Settings
from tests.meddled import Killed, meddled
from tests.partitions import ledger
from tests.partitions.conftest import COUNT
from tests.partitions.ledger import NAME, PartSettled, accounts, cents, ids, sums
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fast")

MODULE = ("--import", "tests.partitions.ledger")
REWIND = ("EVALSHA", load("rewind").sha)
REBUILD = ("replay", NAME, "--from", "beginning", "--shadow", "fresh", *MODULE)


def test_read_models_of_all_partitions_are_rebuilt_and_switched_over(cli, look, parts, publish, work):
    publish(range(100, 160))
    work(factor=10)
    wrong, right = accounts(look, parts), sum(range(100, 160))
    assert sum(wrong.values()) == 10 * right

    done = json.loads(cli(*REBUILD, "--json"))

    assert done == {"handled": 60, "dead": 0}
    assert accounts(look, parts) == wrong
    assert accounts(look, parts, "@fresh") == {f"{name}@fresh": cents // 10 for name, cents in wrong.items()}
    publish([1, 2, 3])  # the shadow goes on with them
    work()  # and the group is ahead of it
    done = json.loads(cli(*REBUILD, "--switch", "--yes", "--json"))
    assert done == {"handled": 3, "dead": 0, "switched": 20 + COUNT, "dropped": 0}
    publish([4])
    work()

    assert sum(sums(look, parts)[0]) == sum(accounts(look, parts).values()) == right + 10
    assert [
        key
        for keys in parts
        for key in look.scan_iter(keys.everything)
        if b"fresh" in key and b":once:" not in key
    ] == []


def test_a_part_that_the_new_code_does_not_write_goes_with_the_others(look, parts, publish, work, client):
    publish(range(100, 160))
    work()
    for keys in parts:
        look.hset(keys.view("other"), "x", 1)
    look.hset(parts[0].shadow("fresh").view("sum"), "cents", 7)
    ends = [ids(look, keys)[-1] for keys in parts]
    shadows = [
        Rebuilt(keys.shadow("fresh"), {"PartSettled": end}, end)
        for keys, end in zip(parts, ends, strict=True)
    ]

    switches = client.run(switch_everywhere(shadows, NAME, "0-1"))

    assert [len(one.renamed) for one in switches] == [1, 0, 0, 0]
    assert [len(one.dropped) for one in switches] == [0, 1, 1, 1]
    assert [look.hgetall(keys.view("sum")) for keys in parts] == [{b"cents": b"7"}, {}, {}, {}]
    assert all(look.exists(keys.view("other")) for keys in parts)
    with pytest.raises(ReplayRefused, match="has made no read model"):
        client.run(switch_everywhere(shadows, NAME, "0-1"))


def test_a_switch_that_failed_in_a_partition_is_finished_by_the_same_again(cli, look, parts, publish, work):
    publish(range(100, 160))
    work(factor=10)
    look.set(parts[1].replay(NAME), "no hash")

    with pytest.raises(
        PartlyDone, match=r"partition 1: .*WRONGTYPE.*; done in partition 0, 2-3; the same again"
    ):
        cli(*REBUILD, "--switch", "--yes")

    assert [one == sum(cents(look, keys)) for one, keys in zip(sums(look, parts)[0], parts, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    publish([1, 2, 3])
    look.delete(parts[1].replay(NAME))
    assert "read model(s) switched over" in cli(*REBUILD, "--switch", "--yes")
    work()
    assert sum(sums(look, parts)[0]) == sum(accounts(look, parts).values()) == sum(range(100, 160)) + 6
    assert [key for keys in parts for key in look.scan_iter(keys.every_view("*@fresh"))] == []


def test_killed_right_after_a_partition_was_switched_the_same_again_rebuilds_it_whole(
    cli, look, parts, publish, work, client
):
    publish(range(100, 160))
    work(factor=10)
    done = asyncio.run(_shadow().run())
    shadows = [Rebuilt(part.keys, part.reached, part.horizon) for part in done.parts]
    switched = []

    def kill_after_the_first(request):
        # The script is sent by its digest, and once more in full if the server does not know it.
        if switched and request.commands[0][0] != "EVAL":
            raise Killed
        switched.extend(command for command in request.commands if command[:2] == REWIND)

    with pytest.raises(Killed):
        client.run(meddled(switch_everywhere(shadows, NAME, "0-1"), kill_after_the_first))

    assert sums(look, parts)[0][0] == sum(cents(look, parts[0]))
    publish([1, 2, 3])
    cli(*REBUILD, "--switch", "--yes")
    work()
    assert sum(sums(look, parts)[0]) == sum(accounts(look, parts).values()) == sum(range(100, 160)) + 6


def _shadow():
    [handler] = ledger.router
    bounds = ("0-1", "99999999999999-0")
    return Shadow(handler, "fresh", bounds, Settings.load())


def test_entries_that_were_trimmed_before_the_switch_are_not_left_out(
    cli, look, parts, publish, work, client
):
    publish(range(100, 160))
    work(factor=10)
    done = asyncio.run(_shadow().run())
    shadows = [Rebuilt(part.keys, part.reached, part.horizon) for part in done.parts]
    publish([1, 2, 3])
    work()
    for keys in parts:
        client.run(trim_before(keys, "PartSettled", "99999999999999-0"))

    with pytest.raises(PartlyDone, match="were trimmed that the shadow has not had yet"):
        client.run(switch_everywhere(shadows, NAME, "0-1"))


def test_it_is_rebuilt_from_the_archives_and_redis_together(  # noqa: PLR0917
    cli, look, parts, publish, work, monkeypatch, tmp_path
):
    monkeypatch.setenv("BUSREDIS_ARCHIVE", str(tmp_path / "cold"))
    publish(range(100, 160))
    work(factor=10)
    cli("archive", "--before", "now")
    publish(range(200, 210))
    assert sum(len(ids(look, keys)) for keys in parts) == 10

    done = json.loads(cli(*REBUILD, "--switch", "--yes", "--json"))

    assert (done["handled"], done["dead"]) == (70, 0)
    work()
    assert sum(sums(look, parts)[0]) == sum(range(100, 160)) + sum(range(200, 210))
    monkeypatch.delenv("BUSREDIS_ARCHIVE")
    with pytest.raises(PositionGone):
        cli("replay", NAME, "--from", "beginning", "--shadow", "other", *MODULE)


def test_dead_letters_in_any_partition_keep_all_from_being_switched_over(cli, look, parts, publish, work):
    publish([*range(100, 110), 13, *range(110, 120)])

    with pytest.raises(ReplayRefused, match="1 dead letter"):
        work()
        cli(*REBUILD, "--switch", "--yes")

    assert "1 dead letter" in cli("dead", "ls", "fresh")
    assert sum(sums(look, parts)[0]) == sum(range(100, 120))


def test_a_shadow_is_for_all_partitions(cli, publish, look):
    publish([1])

    for option in (("--from", "2/beginning"), ("--from", "beginning", "--to", "2/now")):
        with pytest.raises(SettingsError, match="a shadow is for all partitions"):
            cli("replay", NAME, *option, "--shadow", "fresh", *MODULE)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_shadow_keeps_order_and_concurrency_and_never_writes_to_a_read_model_in_use(
    look, parts, publish, server, namespace, ordered
):
    router, seen, running, views = Router(), defaultdict(list), [0, 0], set()

    @router.on(PartSettled, name="watch", ordered=ordered)
    async def watch(event, ctx):
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0)
        views.add(ctx.view("x"))
        seen[event.aggregate_id].append(event.cents)
        running[0] -= 1

    publish(range(100, 300))
    [handler] = router

    done = asyncio.run(Shadow(handler, "fresh", ("0-1", "99999999999999-0"), Settings.load()).run())

    assert (done.copied, done.handled, done.dead) == (200, 200, 0)
    assert dict(seen) == {f"a-{n}": list(range(100 + n, 300, 20)) for n in range(20)}
    assert views == {keys.shadow("fresh").view("x") for keys in parts}
    assert ordered or running[1] == 1


@pytest.mark.timeout(300)
def test_a_shadow_that_was_killed_goes_on_in_every_partition(cli, look, parts, publish, work):
    publish([1] * 400)
    shadows = [keys.shadow("fresh") for keys in parts]
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-m", "busredis", *REBUILD, "--rate", "150", "--json"], stdout=subprocess.PIPE
        ) as process:
            before = sum(sums(look, shadows)[0])
            wait_until(lambda b=before: sum(sums(look, shadows)[0]) > b + 20, "some more are handled", 60)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL

    cli(*REBUILD)

    assert sum(sums(look, shadows)[0]) == 400
    assert sum(accounts(look, shadows, "@fresh").values()) == 400
    assert os.environ["BUSREDIS_LEASE"] == "2s"
