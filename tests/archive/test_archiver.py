"""Archiving: what is in the archive is what was in Redis, and only then it is trimmed."""

import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.cold.verify import verify
from busredis.errors import ArchiveDamaged, ArchiveError
from tests.archive.conftest import EVERYTHING, ColdPaid, cold, hot, moment, publish_old


def test_what_is_older_is_archived_by_type_and_day_and_trimmed(run, inspect, keys, archive, folder):
    published = publish_old(inspect, keys, days=3, a_day=4)

    found = run(f"{moment(2)}-0")

    assert {name: (one.entries, one.trimmed) for name, one in found.items()} == {
        "ColdPaid": (8, 8),
        "ColdShipped": (8, 8),
    }
    assert len(hot(inspect, keys)) == 8
    assert sorted(hot(inspect, keys) + cold(archive)) == published
    assert [(f.event_type, f.day, f.rows) for f in archive.manifest().files] == [
        (name, day, 4) for name in ("ColdPaid", "ColdShipped") for day in ("2026-03-01", "2026-03-02")
    ]
    assert min(str(p.relative_to(folder)) for p in folder.rglob("*.*")).endswith(
        f"ColdPaid/2026-03-01.p0.{moment(0)}-0.parquet"
    )
    assert verify(archive).problems == []


def test_a_run_goes_on_where_the_last_one_ended_also_within_a_day(run, inspect, keys, archive):
    published = publish_old(inspect, keys, days=2, a_day=6)

    for number in (2, 5):
        run(f"{moment(1, number)}-0")
        assert sorted(hot(inspect, keys) + cold(archive)) == published
    assert sum(one.entries for one in run().values()) == 2

    assert hot(inspect, keys) == []
    assert cold(archive) == published
    assert sum(one.entries for one in run().values()) == 0
    assert verify(archive).problems == []


def test_without_trimming_all_stays_and_is_trimmed_by_a_later_run(run, inspect, keys, archive):
    published = publish_old(inspect, keys, days=2, a_day=3)

    run(trim=False)
    assert hot(inspect, keys) == cold(archive) == published

    found = run()
    assert sum(one.entries for one in found.values()) == 0
    assert sum(one.trimmed for one in found.values()) == len(published)
    assert cold(archive) == published


def test_a_look_says_what_would_be_archived_and_does_nothing(client, keys, inspect, archive, folder):
    publish_old(inspect, keys, days=2, a_day=3)
    before = hot(inspect, keys)

    looked = Archiver(client, keys, archive, f"{moment(1)}-0").look()

    assert [(one.event_type, one.entries) for one in looked] == [("ColdPaid", 3), ("ColdShipped", 3)]
    assert hot(inspect, keys) == before
    assert not folder.exists()


def test_what_a_group_still_needs_stays_in_redis_and_goes_later(run, inspect, keys, archive):
    published = publish_old(inspect, keys, days=2, a_day=3, classes=(ColdPaid,))
    stream = keys.stream("ColdPaid")
    inspect.xgroup_create(stream, "slow", id="0")
    [[_, [(first, _), (second, _)]]] = inspect.xreadgroup("slow", "c", {stream: ">"}, count=2)
    inspect.xack(stream, "slow", first)

    found = run()["ColdPaid"]

    assert (found.entries, found.trimmed, found.pinned_by) == (6, 1, "group slow")
    assert inspect.xrange(stream)[0][0] == second
    assert cold(archive) == published

    inspect.xack(stream, "slow", second)
    assert run()["ColdPaid"].trimmed == 1
    assert len(hot(inspect, keys)) == 4


def test_entries_of_other_programs_keep_all_their_fields(run, inspect, keys, archive):
    stream = keys.stream("ColdPaid")
    fields = {b"event": b"no json", b"\xff": b"\x00", b"z": b""}
    inspect.xadd(stream, fields, id="5-1")

    run()

    [(entry_id, kept)] = archive.read("ColdPaid", "0-0", "9-0")
    assert (entry_id, dict(zip(kept[::2], kept[1::2], strict=True))) == ("5-1", fields)
    assert inspect.xlen(stream) == 0


@pytest.mark.parametrize("name", ["../evil", "..", "a/b", "x" * 300, ".hidden", "a b"])
def test_a_type_that_is_no_file_name_is_refused_and_the_others_are_archived(
    run, inspect, keys, archive, folder, name
):
    published = publish_old(inspect, keys, days=1, a_day=2)
    inspect.xadd(keys.stream(name), {"event": "{}"}, id="5-1")

    with pytest.raises(ArchiveError, match="not archived: event type"):
        run()

    assert cold(archive) == published
    assert inspect.xlen(keys.stream(name)) == 1
    assert {path.name for path in folder.parent.iterdir()} == {"cold"}


def test_a_full_disk_leaves_the_stream_untouched_and_names_path_and_bytes(
    run, inspect, keys, archive, monkeypatch
):
    publish_old(inspect, keys, days=1, a_day=3_000, classes=(ColdPaid,))
    before = hot(inspect, keys)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # EFBIG, as ENOSPC comes: at a write
    try:
        with pytest.raises(
            ArchiveError, match=r"ColdPaid/2026-03-01.*parquet: not written, after [\d,]+ bytes: .*large"
        ):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert hot(inspect, keys) == before
    assert archive.place.names() == []
    run()
    assert cold(archive) == before


def test_what_reads_back_otherwise_is_not_entered_and_not_trimmed(run, inspect, keys, archive, monkeypatch):
    published = publish_old(inspect, keys, days=1, a_day=3, classes=(ColdPaid,))
    scan = archive.scan
    monkeypatch.setattr(archive, "scan", lambda file: (entries[:-1] for entries in scan(file)))

    with pytest.raises(ArchiveDamaged, match="reads back 2 entries that are not the 3 written"):
        run()

    assert hot(inspect, keys) == published
    assert archive.manifest(fresh=True).files == []


def test_entries_that_the_archive_has_otherwise_are_never_trimmed(run, inspect, keys):
    publish_old(inspect, keys, days=1, a_day=3, classes=(ColdPaid,))
    run(trim=False)
    stream = keys.stream("ColdPaid")
    inspect.delete(stream)
    inspect.xadd(stream, {"event": "{}"}, id=f"{moment(0)}-7")

    with pytest.raises(ArchiveDamaged, match=r"the archive at .* has none: nothing was trimmed"):
        run()

    assert inspect.xlen(stream) == 1


def test_the_archive_of_another_bus_is_refused(run, inspect, keys, folder, namespace, tmp_path):
    publish_old(inspect, keys, days=2, a_day=2)
    run(f"{moment(1)}-0")
    shutil.move(folder, tmp_path / "elsewhere")

    with pytest.raises(ArchiveDamaged, match="is not the archive of this bus as it was written last"):
        run(archive=Archive(str(folder), namespace))

    assert len(hot(inspect, keys)) == 4


def test_one_run_at_a_time(run, client, keys, inspect, archive):
    publish_old(inspect, keys, days=1, a_day=1)
    inspect.set(keys.lease("archive"), f"elsewhere {os.getpid()} x", px=60_000)

    with pytest.raises(ArchiveError, match=r"another archive run is under way, process .* on elsewhere"):
        run()

    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    inspect.set(keys.lease("archive"), f"{os.uname().nodename} {int(dead.stdout)} x", px=60_000)
    assert run()["ColdPaid"].entries == 1


def damage_changed(paths):
    raw = bytearray(paths[1].read_bytes())
    raw[len(raw) // 2] ^= 1
    paths[1].write_bytes(raw)


def damage_missing(paths):
    paths[1].unlink()


def damage_swapped(paths):
    first, second = paths[1].read_bytes(), paths[2].read_bytes()
    paths[1].write_bytes(second)
    paths[2].write_bytes(first)


def damage_manifest_line(paths):
    lines = paths[0].read_bytes().splitlines(keepends=True)
    paths[0].write_bytes(b"".join([lines[0], *lines[2:]]))


def damage_manifest_end(paths):
    paths[0].write_bytes(b"".join(paths[0].read_bytes().splitlines(keepends=True)[:-1]))


def damage_manifest_edited(paths):
    lines = paths[0].read_bytes().splitlines(keepends=True)
    document = json.loads(lines[1])
    document["rows"] += 1
    paths[0].write_bytes(b"".join([lines[0], json.dumps(document).encode() + b"\n", *lines[2:]]))


def damage_path(paths):
    lines = paths[0].read_bytes().splitlines(keepends=True)
    last = json.loads(lines[-1])
    last["path"] = "../" + last["path"]
    paths[0].write_bytes(b"".join([*lines[:-1], json.dumps(last).encode() + b"\n"]))


@pytest.mark.parametrize(
    "damage",
    [
        damage_changed,
        damage_missing,
        damage_swapped,
        damage_manifest_line,
        damage_manifest_end,
        damage_manifest_edited,
        damage_path,
    ],
)
def test_verify_finds_what_was_changed_lost_or_swapped(run, client, keys, inspect, archive, folder, damage):  # noqa: PLR0917
    publish_old(inspect, keys, days=2, a_day=3)
    run()
    head = inspect.hget(keys.archive, "head").decode()
    assert verify(archive, head=head).problems == []
    paths = [next(folder.rglob("manifest.jsonl")), *sorted(folder.rglob("*.parquet"))]

    damage(paths)

    assert verify(archive, head=head).problems != []


def test_the_archive_may_be_at_any_fsspec_url(run, inspect, keys, namespace):
    published = publish_old(inspect, keys, days=2, a_day=3)
    archive = Archive(f"memory://{namespace}", namespace)

    run(archive=archive)

    assert cold(Archive(f"memory://{namespace}", namespace)) == published
    assert hot(inspect, keys) == []
    assert verify(archive).problems == []


def test_a_million_would_be_the_same_in_short(run, inspect, keys, archive):
    published = publish_old(inspect, keys, days=1, a_day=25_000, classes=(ColdPaid,))

    found = run(EVERYTHING)["ColdPaid"]

    assert found.entries == found.trimmed == 25_000
    assert cold(archive) == published
    assert found.cold_bytes < 0.15 * found.hot_bytes
