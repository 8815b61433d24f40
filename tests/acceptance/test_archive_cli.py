"""The archive on the command line."""

import json

import pytest

from busredis.cold import Archive
from busredis.keys import Keys
from tests.archive.conftest import cold, hot, moment, publish_old


@pytest.fixture
def url(busredis, tmp_path):
    url = str(tmp_path / "cold")
    busredis.environment["BUSREDIS_ARCHIVE"] = url
    return url


def test_archive_ls_verify_and_restore(busredis, url, inspect, keys, namespace):
    published = publish_old(inspect, keys, days=3, a_day=4)
    before = f"{moment(2)}-0"

    dry = json.loads(busredis("archive", "--before", before, "--dry-run", "--json").stdout)
    assert (dry["total"]["entries"], hot(inspect, keys)) == (16, published)

    text = busredis("archive", "--before", before).stdout
    assert "16 entries in" in text
    assert len(cold(Archive(url, namespace))) == 16

    done = json.loads(busredis("archive", "--before", "0s", "--to", url, "--no-trim", "--json").stdout)
    assert (done["total"]["entries"], done["total"]["trimmed"], len(hot(inspect, keys))) == (8, 0, 8)

    files = json.loads(busredis("archive", "ls", "--json").stdout)
    assert [file["rows"] for file in files] == [4] * 6
    assert "6 file(s)" in busredis("archive", "ls").stdout
    assert "6 file(s), 24 entries" in busredis("archive", "verify").stdout

    restored = json.loads(
        busredis(
            "archive",
            "restore",
            "--into",
            "looked-at",
            "--from",
            f"{moment(1)}-0",
            "--type",
            "ColdPaid",
            "--json",
        ).stdout
    )
    assert restored["entries"] == {"ColdPaid": 8}
    other = Keys("looked-at")
    assert hot(inspect, other) == [line for line in published if line.startswith("ColdPaid")][4:]
    assert "is not empty" in busredis("archive", "restore", "--into", "looked-at", code=1).stderr
    for key in inspect.scan_iter(other.everything):
        inspect.delete(key)


def test_verify_fails_for_a_damaged_archive_and_names_the_file(busredis, url, inspect, keys, tmp_path):
    publish_old(inspect, keys, days=1, a_day=4)
    busredis("archive", "--before", "now")
    file = next((tmp_path / "cold").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])

    assert f"{file.name}: changed" in busredis("archive", "verify", code=1).stdout
    assert json.loads(busredis("archive", "verify", "--json", code=1).stdout)["problems"]


def test_what_is_wrong_is_said(busredis, keys, namespace):
    assert "no archive: --to" in busredis("archive", "--before", "30d", code=2).stderr
    assert "archive what?" in busredis("archive", code=2).stderr
    assert (
        "--before soon: write an age"
        in busredis("archive", "--before", "soon", "--to", "/nowhere", code=2).stderr
    )
    assert (
        "name another one"
        in busredis("archive", "restore", "--into", namespace, "--to", "/nowhere", code=2).stderr
    )


def test_without_pyarrow_it_says_what_to_install(busredis, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError('no pyarrow')")
    (tmp_path / "fsspec.py").write_text("raise ImportError('no fsspec')")
    busredis.environment["PYTHONPATH"] = f"{tmp_path}:{busredis.environment.get('PYTHONPATH', '')}"

    assert (
        "pip install busredis[archive]" in busredis("archive", "--before", "1d", "--to", "x", code=2).stderr
    )
