"""A run that is frozen beyond its lease while another one archives: nothing is listed twice, overwritten or lost."""

import pytest

from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.cold.manifest import Manifest
from busredis.cold.place import ASIDE, Place
from busredis.cold.verify import verify
from busredis.cold.writer import FileWriter
from busredis.errors import ArchiveError
from tests.archive.conftest import EVERYTHING, cold, hot, publish_old

#: Where a run can be frozen: what it is about to do, or has just done.
STEPS = {
    "a file is open": (FileWriter, "add"),
    "a file was checked": (FileWriter, "checked"),
    "the manifest was made": (Manifest, "with_file"),
}


def freeze(monkeypatch, step, meanwhile):
    """Once, after this step, `meanwhile` is called, as if this run were frozen."""
    cls, name = STEPS[step]
    method, calls = getattr(cls, name), []

    def frozen(self, *args):
        result = method(self, *args)
        calls.append(step)
        if len(calls) == 1:
            meanwhile()
        return result

    monkeypatch.setattr(cls, name, frozen)
    return calls


@pytest.fixture
def place(request, folder, namespace):
    return str(folder) if request.param == "folder" else f"memory://{namespace}"


@pytest.mark.parametrize("place", ["elsewhere"], indirect=True)
@pytest.mark.parametrize("step", ["a file is open", "a file was checked"])
def test_a_run_that_was_frozen_while_another_archived_stops(  # noqa: PLR0917
    client, keys, inspect, namespace, place, step, monkeypatch
):
    published = publish_old(inspect, keys, days=2, a_day=6)
    archive = Archive(place, namespace)

    def another() -> None:
        inspect.delete(keys.lease("archive"))  # it has run out
        Archiver(client, keys, Archive(place, namespace), EVERYTHING).run()

    calls = freeze(monkeypatch, step, another)
    with pytest.raises(ArchiveError, match="silent for so long that another has begun; it stops here"):
        Archiver(client, keys, archive, EVERYTHING).run()

    assert calls
    assert (cold(archive), hot(inspect, keys)) == (published, [])
    assert verify(archive, head=inspect.hget(keys.archive, "head").decode()).problems == []
    assert [name for name in archive.place.names() if name.endswith(ASIDE)] == []


@pytest.mark.parametrize("place", ["folder"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
def test_in_a_folder_no_other_run_begins_while_one_is_frozen_and_it_goes_on_after_that(  # noqa: PLR0917
    client, keys, inspect, namespace, place, step, monkeypatch
):
    published = publish_old(inspect, keys, days=2, a_day=6)
    archive, refused = Archive(place, namespace), []

    def another() -> None:
        inspect.delete(keys.lease("archive"))
        with pytest.raises(
            ArchiveError, match="another archive run is under way, which has been silent"
        ) as raised:
            Archiver(client, keys, Archive(place, namespace), EVERYTHING).run()
        refused.append(raised.value)

    freeze(monkeypatch, step, another)
    Archiver(client, keys, archive, EVERYTHING).run()

    assert len(refused) == 1
    assert (cold(archive), hot(inspect, keys)) == (published, [])
    assert verify(archive, head=inspect.hget(keys.archive, "head").decode()).problems == []


def test_a_manifest_that_was_brought_from_elsewhere_meanwhile_is_not_written_to(
    client, keys, inspect, namespace, archive, monkeypatch
):
    publish_old(inspect, keys, days=2, a_day=3)
    other = Archive(f"memory://{namespace}", namespace)
    Archiver(client, keys, other, EVERYTHING, trim=False).run()
    inspect.delete(keys.archive)

    def brought() -> None:
        archive.place.write("manifest.jsonl", other.place.read("manifest.jsonl"))

    freeze(monkeypatch, "a file was checked", brought)
    with pytest.raises(ArchiveError, match="another run has written to it since this one began"):
        Archiver(client, keys, archive, EVERYTHING).run()

    assert archive.place.read("manifest.jsonl") == other.place.read("manifest.jsonl")


def test_who_writes_the_same_file_aside_at_once_writes_to_another(folder):
    place = Place(str(folder))
    with place.writing("a") as first:
        with place.writing("a") as second:
            second.write(b"second")
            assert len(place.names()) == 2
        first.write(b"first")

    assert place.names() == ["a"]
    assert place.read("a") == b"first"


def test_what_was_written_aside_is_gone_after_any_error_and_what_was_left_with_the_next_run(
    run, inspect, keys, archive, folder
):
    with pytest.raises(KeyboardInterrupt), archive.place.writing("a"):
        raise KeyboardInterrupt
    assert archive.place.names() == []

    (folder / keys.namespace / "a.0123.tmp").write_bytes(b"left by one that was killed")
    (folder / keys.namespace / "b.tmp").write_bytes(b"left by one that was killed")
    publish_old(inspect, keys, days=1, a_day=1)
    run()

    assert [name for name in archive.place.names() if name.endswith(ASIDE)] == []
