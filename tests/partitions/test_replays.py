"""Replays over several partitions: a group is moved back in all of them, or in one."""

import json

import pytest

from busredis.errors import PartlyDone, ReplayRefused, SettingsError
from busredis.keys import just_after
from busredis.retention import trim_before
from tests.partitions.conftest import COUNT
from tests.partitions.ledger import NAME, ids, sums

pytestmark = pytest.mark.usefixtures("fast")


def test_a_group_is_given_again_what_it_had_in_all_partitions(cli, look, parts, publish, work):
    publish(range(100, 160))
    work()
    [before, replayed] = sums(look, parts)
    ends = [keys.shown(ids(look, keys)[-1]) for keys in parts]
    assert (sum(before), replayed) == (sum(range(100, 160)), 0)

    moved = json.loads(cli("replay", NAME, "--from", "beginning", "--yes", "--no-wait", "--json"))["moved"]
    publish([1])
    work()

    assert [one["position"] for one in moved] == [f"{n}/0-0" for n in range(COUNT)]
    assert [one["was_at"] for one in moved] == ends
    [after, replayed] = sums(look, parts)
    assert sum(after) == 2 * sum(before) + 1
    assert replayed == 60
    assert "in 4 stream(s)" in cli("replay", NAME, "--from", "1d", "--yes", "--no-wait")


def test_an_id_moves_the_group_in_its_partition_and_one_without_is_refused(cli, look, parts, publish, work):
    publish(range(100, 160))
    work()
    own = ids(look, parts[2])

    with pytest.raises(SettingsError, match=f"write 3/{own[1]} if it is of partition 3"):
        cli("replay", NAME, "--from", own[1], "--yes", "--no-wait")
    said = cli("replay", NAME, "--from", f"2/{own[1]}", "--yes", "--no-wait")
    assert f"reads again from 2/{own[1]} in 1 stream(s)" in said
    work()

    assert sums(look, parts)[1] == len(own) - 1


@pytest.mark.parametrize("trouble", ["pending", "trimmed"])
def test_what_is_refused_in_one_partition_is_done_in_none(cli, look, parts, publish, work, client, trouble):  # noqa: PLR0917
    publish(range(100, 160))
    work()
    stream = parts[2].stream("PartSettled")
    if trouble == "pending":
        look.xgroup_setid(stream, NAME, ids(look, parts[2])[0])
        look.xreadgroup(NAME, "waiting-60000", {stream: ">"}, count=1)
    else:
        client.run(trim_before(parts[2], "PartSettled", just_after(ids(look, parts[2])[0])))
    before = [look.xinfo_groups(keys.stream("PartSettled")) for keys in parts]

    with pytest.raises(ReplayRefused, match=r"partition 2: .*; nothing was moved"):
        cli("replay", NAME, "--from", "beginning", "--yes", "--no-wait")

    assert [look.xinfo_groups(keys.stream("PartSettled")) for keys in parts] == before
    assert not look.exists(*(keys.replay(NAME) for keys in parts))
    if trouble == "pending":
        cli("replay", NAME, "--from", "beginning", "--yes", "--no-wait", "--pending-again")
        work()
        # Of the third partition two were delivered and the rest had not been read again yet: that is no replay.
        assert sums(look, parts)[1] == 60 - (len(ids(look, parts[2])) - 2)
        assert sum(sums(look, parts)[0]) == 2 * sum(range(100, 160))


def test_a_replay_that_failed_in_a_partition_says_where_and_is_finished_by_the_same_again(
    cli, look, parts, publish, work
):
    publish(range(100, 160))
    work()
    look.set(parts[1].replay(NAME), "no hash")

    with pytest.raises(
        PartlyDone, match=r"partition 1: .*WRONGTYPE.*; done in partition 0, 2-3; the same again"
    ):
        cli("replay", NAME, "--from", "beginning", "--yes", "--no-wait")

    look.delete(parts[1].replay(NAME))
    cli("replay", NAME, "--from", "beginning", "--yes", "--no-wait")
    work()
    assert sums(look, parts)[1] == 60


def test_a_group_that_is_nowhere_is_said_to_be_missing(cli, publish, look):
    publish([1])

    with pytest.raises(ReplayRefused, match="no stream has a group 'nobody'"):
        cli("replay", "nobody", "--from", "beginning", "--yes")
