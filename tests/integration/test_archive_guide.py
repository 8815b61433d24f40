"""The code and the query of docs/archive.md run as they stand there, and the code of docs/privacy.md."""

import re
from pathlib import Path

import duckdb
import pytest

from busredis.archiver import Archiver
from busredis.client import Client
from busredis.cold import Archive

DOCS = Path(__file__).parents[2] / "docs"


def run_code(name: str, names: dict) -> dict:
    text = (DOCS / name).read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    for block in blocks:
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], name, "exec"), names)
    assert len(blocks) == text.count("```python") > 0
    return names


@pytest.fixture
def archived(server, namespace, keys, inspect, tmp_path, monkeypatch):
    """The folder of the archive that the code of the guide has filled."""
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    client, folder = Client(server.url), str(tmp_path)

    def archive_everything():
        Archiver(client, keys, Archive(folder, namespace), "99999999999999-0").run()

    names = {"__name__": "archive_guide", "url": server.url, "folder": folder}
    names = run_code("archive.md", names | {"archive_everything": archive_everything})
    names["store"].close()
    client.close()
    return folder


def test_the_code_and_the_query_of_the_guide_run(archived, namespace):
    [query] = re.findall(r"^```sql\n(.*?)^```$", (DOCS / "archive.md").read_text(), re.DOTALL | re.MULTILINE)

    rows = duckdb.sql(query.replace("/srv/archive/busredis", f"{archived}/{namespace}")).fetchall()

    assert rows == [("MeterRead", "m-1", 3, 12)]


def test_the_columns_of_the_guide_are_those_of_the_files(archived, namespace):
    text = (DOCS / "archive.md").read_text().partition("| column | |")[2].partition("\n\n")[0]
    told = {
        name
        for line in text.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }

    found = duckdb.sql(
        f"DESCRIBE SELECT * FROM read_parquet('{archived}/{namespace}/*/*.parquet')"
    ).fetchall()

    assert {row[0] for row in found} == told


def test_the_code_of_the_guide_to_privacy_runs():
    names = run_code("privacy.md", {"__name__": "privacy_guide"})

    assert names["Registered"].forgotten == {"email": "[forgotten]", "born": None}
