"""The archive of a namespace with several partitions: one for each, trimmed, read and restored as with one."""

import asyncio
import json
import shutil
from pathlib import Path

import duckdb
import pytest

from busredis import (
    AsyncEventStore,
    EventStore,
    Repository,
)
from busredis.cold import Archive
from busredis.cold.manifest import Owner
from busredis.errors import ArchiveError, HistoryDamaged, PartlyDone, PositionGone, SettingsError
from busredis.keys import Keys
from busredis.partitions import all_keys, partition_of
from tests.archive.conftest import cold, moment, publish_old
from tests.partitions.conftest import COUNT
from tests.partitions.metered import PartMeter, PartMetered, archives


@pytest.fixture
def metered(server, namespace, folder, publisher):
    """Forty meters with three events each, in all partitions, and a store that knows the archive."""
    publisher.publish(PartMetered(kwh=0, aggregate_id="unread"))
    with EventStore(server.url, namespace=namespace) as store:
        for number in range(40):
            meter = PartMeter(f"m-{number}")
            for kwh in (1, 10, 100 + number):
                meter.raise_event(PartMetered(kwh=kwh))
            Repository(store).save(meter)
        yield store


def streams(look, parts):
    return [len(look.xrange(keys.stream("PartMetered"))) for keys in parts]


def everything(store):
    return [list(store.feed(partition=number)) for number in range(COUNT)]


def test_each_partition_has_its_own_files_manifest_and_hash_and_is_trimmed(
    cli, metered, look, parts, namespace, folder
):
    before = everything(metered)
    found = json.loads(cli("archive", "--before", "now", "--json"))

    assert (found["total"]["entries"], found["total"]["trimmed"]) == (121, 121)
    assert [one["event_type"] for one in found["types"]] == ["PartMetered"]
    assert streams(look, parts) == [0] * COUNT
    for keys, archive, events in zip(parts, archives(folder, namespace, COUNT), before, strict=True):
        head, url = look.hmget(keys.archive, "head", "url")
        assert (archive.manifest().head, url.decode()) == (
            head.decode(),
            str(folder / namespace / f"p{keys.partition}"),
        )
        assert json.loads(
            (folder / namespace / f"p{keys.partition}" / "manifest.jsonl").read_text().split("\n")[0]
        ) == {
            "busredis_archive": 1,
            "namespace": namespace,
            "partition": keys.partition,
            "partitions": COUNT,
        }
        assert [line.split()[1] for line in cold(archive)] == sorted(one.position for one in events)
        assert all(f".p{keys.partition}." in file.path for file in archive.manifest().files)
    listed = json.loads(cli("archive", "ls", "--json"))
    assert {file["partition"] for file in listed} == set(range(COUNT))
    assert all((folder / namespace / file["path"]).is_file() for file in listed)
    assert "4 file(s)" in cli("archive", "ls")
    rows = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/{namespace}/**/*.parquet')").fetchall()
    assert rows == [(121,)]


def test_a_namespace_that_is_not_divided_has_the_files_that_it_always_had(
    cli, server, namespace, inspect, keys, folder
):
    publish_old(inspect, keys, days=1, a_day=2)

    cli("archive", "--before", "now")

    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())
    first = f"{moment(0)}"
    assert names == [
        f"{namespace}/ColdPaid/2026-03-01.p0.{first}-0.parquet",
        f"{namespace}/ColdShipped/2026-03-01.p0.{first}-1.parquet",
        f"{namespace}/manifest.jsonl",
    ]
    lines = (folder / namespace / "manifest.jsonl").read_text().splitlines()
    assert lines[0] == json.dumps({"busredis_archive": 1, "namespace": namespace}, separators=(",", ":"))
    assert {json.loads(line)["partition"] for line in lines[1:]} == {0}


@pytest.mark.parametrize("how", ["all", "half"])
def test_histories_and_feeds_go_through_the_archive_of_their_partition(
    cli, metered, look, server, namespace, how
):
    repository = Repository(metered)
    before, together = everything(metered), list(metered.feed())
    states = {f"m-{n}": repository.load(PartMeter, f"m-{n}").state for n in range(40)}
    if how == "all":
        cli("archive", "--before", "now")
    else:
        for number, events in enumerate(before):
            cli("archive", "--before", f"{number}/{events[len(events) // 2].position}")
            assert (
                look.xlen(all_keys(namespace, COUNT)[number].stream("PartMetered"))
                == len(events) - len(events) // 2
            )

    assert everything(metered) == before
    assert list(metered.feed()) == together
    assert list(metered.feed(after=together[50].position)) == together[51:]
    for name, state in states.items():
        assert repository.rebuild(PartMeter, name).state == state
        assert repository.load(PartMeter, name, at_version=2).state.kwh == 11

    async def read():
        async with AsyncEventStore(server.url, namespace=namespace) as store:
            assert [one async for one in store.feed()] == together
            return [one.event.kwh async for one in store.read(("PartMeter", "m-7"))]

    assert asyncio.run(read()) == [1, 10, 107]
    with EventStore(server.url, namespace=namespace, archive=str(Path("nowhere").absolute())) as without:
        with pytest.raises((HistoryDamaged, PositionGone)):
            [list(without.read(("PartMeter", name))) for name in states]
            everything(without)


def test_what_a_group_needs_in_one_partition_stays_there_alone(cli, metered, look, parts):
    for keys in parts:
        look.xgroup_create(keys.stream("PartMetered"), "audit", id="$")
    look.xgroup_setid(parts[2].stream("PartMetered"), "audit", "0")
    was = streams(look, parts)

    found = json.loads(cli("archive", "--before", "now", "--json"))

    assert streams(look, parts) == [0, 0, was[2], 0]
    assert found["types"][0]["pinned_by"] == "group audit"
    look.xgroup_setid(parts[2].stream("PartMetered"), "audit", "$")
    assert json.loads(cli("archive", "--before", "now", "--json"))["total"]["trimmed"] == was[2]
    assert streams(look, parts) == [0] * COUNT


def test_a_partition_that_fails_keeps_no_other_from_being_archived_and_a_second_run_finishes(
    cli, metered, look, parts, namespace, folder
):
    look.set(parts[1].lease("archive"), "elsewhere 1 x-y", px=60_000)
    was = streams(look, parts)

    with pytest.raises(PartlyDone, match=r"partition 1: another archive run .*; done in partition 0, 2-3"):
        cli("archive", "--before", "now")

    assert streams(look, parts) == [0, was[1], 0, 0]
    look.delete(parts[1].lease("archive"))
    cli("archive", "--before", "now")
    assert streams(look, parts) == [0] * COUNT
    assert json.loads(cli("archive", "verify", "--json"))["rows"] == 121


def test_verify_reads_all_partitions_and_misses_one_that_is_lost(
    cli, metered, look, parts, namespace, folder
):
    cli("archive", "--before", "now")
    where = folder / namespace
    assert "4 file(s), 121 entries" in cli("archive", "verify")
    assert "as written" in cli("archive", "verify", "--offline")
    (where / "p1" / "stray.parquet").write_bytes(b"x")
    (where / "elsewhere.parquet").write_bytes(b"x")
    assert json.loads(cli("archive", "verify", "--json"))["strays"] == [
        "p1/stray.parquet",
        "elsewhere.parquet",
    ]

    shutil.move(where / "p2", folder / "moved")
    assert "p2/manifest.jsonl: is not there" in cli("archive", "verify", code=1)
    assert "p2/manifest.jsonl: is not there" in cli("archive", "verify", "--offline", code=1)
    shutil.move(folder / "moved", where / "p2")
    (where / "p1" / "manifest.jsonl").write_bytes((where / "p2" / "manifest.jsonl").read_bytes())
    assert "partition 2 of 4, not of" in cli("archive", "verify", code=1).replace("\n", " ")


def test_a_partition_without_entries_has_a_manifest_too_and_is_missed(
    cli, look, parts, publisher, namespace, folder
):
    publisher.publish(PartMetered(aggregate_id="a"))
    cli("archive", "--before", "now")
    assert "1 file(s), 1 entries" in cli("archive", "verify", "--offline")
    empty = next(n for n in range(COUNT) if n != partition_of("a", COUNT))

    shutil.rmtree(folder / namespace / f"p{empty}")

    assert f"p{empty}/manifest.jsonl: is not there" in cli("archive", "verify", "--offline", code=1)
    assert f"p{empty}/manifest.jsonl: is not there" in cli("archive", "verify", code=1)
    cli("archive", "--before", "now")
    assert "as written" in cli("archive", "verify", "--offline")


def test_an_archive_of_another_number_of_partitions_is_refused(cli, metered, look, parts, namespace, folder):
    archive = Archive(str(folder), Owner(namespace, 0, 8))
    archive.place.write("manifest.jsonl", json.dumps(archive.owner.header()).encode() + b"\n")

    with pytest.raises(ArchiveError, match=r"with 8 partition\(s\), and this one has 4"):
        cli("archive", "--before", "now")

    assert sum(streams(look, parts)) == 121
    shutil.rmtree(folder)
    whole = Archive(str(folder), namespace)
    whole.place.write("manifest.jsonl", json.dumps(whole.owner.header()).encode() + b"\n")
    with pytest.raises(ArchiveError, match=r"with 1 partition\(s\), and this one has 4"):
        cli("archive", "--before", "now")


def test_an_id_needs_its_partition(cli, metered, look, parts):
    [(entry_id, _), *_] = look.xrange(parts[0].stream("PartMetered"))
    bare = entry_id.decode()

    for before, message in (
        (bare, f"write 3/{bare} if it is of partition 3"),
        (f"4/{bare}", "there is no partition 4, they are 0 to 3"),
        ("1/soon", "--before soon: write an age"),
    ):
        with pytest.raises(SettingsError, match=message):
            cli("archive", "--before", before)
    assert sum(streams(look, parts)) == 121


def test_a_range_is_restored_into_a_namespace_that_is_divided_as_this_one(
    cli, metered, look, server, namespace, folder
):
    before = everything(metered)
    cli("archive", "--before", "now")
    into = f"again-{namespace}"

    found = json.loads(cli("archive", "restore", "--into", into, "--json"))

    assert found["entries"] == {"PartMetered": 121}
    with EventStore(server.url, namespace=into) as restored:
        assert restored.partitions == COUNT
        assert everything(restored) == before
    with pytest.raises(ArchiveError, match="is not empty"):
        cli("archive", "restore", "--into", into)
    _remove(look, into)
    found = json.loads(
        cli("archive", "restore", "--into", into, "--from", f"1/{before[1][3].position}", "--json")
    )
    assert found["entries"] == {"PartMetered": len(before[1]) - 3}
    _remove(look, into)
    with pytest.raises(SettingsError, match="of two partitions"):
        cli("archive", "restore", "--into", into, "--from", "1/7d", "--to-time", "2/now")


def _remove(look, namespace):
    for keys in (Keys(namespace), *all_keys(namespace, COUNT)):
        for key in look.scan_iter(keys.everything):
            look.delete(key)


def test_a_partitions_place_in_the_archive_is_that_of_its_number():
    assert partition_of("m-7", COUNT) == Keys("x", partition_of("m-7", COUNT)).partition
    assert Owner("x", 3, 4).folder == "x/p3"
    assert Owner("x").folder == "x"
