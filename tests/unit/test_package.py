"""What is promised of the package itself."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import busredis
from busredis import catalog, errors

ROOT = Path(busredis.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
#: Everything that is written here in Python.
FOLDERS = (
    *("bench", "busredis", "docs", "examples", "faults", "fuzz", "handlers"),
    *("mutations", "snapshots", "soak", "tests"),
)


def test_everything_public_is_named_and_sorted():
    assert busredis.__all__ == sorted(busredis.__all__)
    assert catalog.__all__ == sorted(catalog.__all__)
    assert len(catalog.__all__) == 16
    for name in busredis.__all__:
        assert getattr(busredis, name)


def test_one_module_talks_to_redis_py_one_spells_keys_and_none_unpickles():
    imports = [p.name for p in SOURCES if re.search(r"^(import|from) redis\b", p.read_text(), re.MULTILINE)]
    spells = [
        p.name
        for p in SOURCES
        if re.search(r'f"[^"]*:(stream|dead|once|view|checkpoint|stats):', p.read_text())
    ]
    acks = [p.name for p in [*SOURCES, *ROOT.rglob("*.lua")] if re.search(r"'XACK'|\"XACK\"", p.read_text())]
    unsafe = [
        p.name
        for p in SOURCES
        if re.search(r"\b(pickle|marshal|eval|exec)\b\(?", p.read_text().replace("EVAL", ""))
    ]

    assert imports == ["client.py"]
    assert spells == ["keys.py"]
    # effects.lua is apart from settle.lua, so that the bulk of acknowledgements stays as short and fast as it is.
    # rewind.lua takes what is pending out of the group's hands when it is moved: it is given again, or was done by a shadow.
    assert sorted(acks) == ["dead_letter.lua", "effects.lua", "rewind.lua", "settle.lua"]
    assert unsafe == []


def test_the_tree_of_errors_is_the_tree_of_classes():
    named = set(re.findall(r"── (\w+)", errors.__doc__)) | {"BusError"}
    classes = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.BusError)}

    assert classes == named


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_long(folder):
    lengths = {
        str(p.relative_to(ROOT.parent)): len(p.read_text().splitlines())
        for p in (ROOT.parent / folder).rglob("*.py")
    }

    assert lengths, "there are files in it"
    assert [name for name, length in lengths.items() if length > 300] == []


def test_the_wheel_has_the_library_only_with_its_scripts_and_types(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT.parent],
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names} == {"busredis", "busredis-0.1.0.dist-info"}
    assert "busredis/py.typed" in names
    assert {n for n in names if n.endswith(".lua")} == {
        f"busredis/lua/{p.name}" for p in ROOT.glob("lua/*.lua")
    }


def test_compose_runs_every_module_of_handlers_and_the_snapshots():
    commands = re.findall(
        r"command: \[((?:snapshots, )?run, [\w.]+)\]", (ROOT.parent / "docker-compose.yml").read_text()
    )
    routers = [p for p in (ROOT.parent / "handlers").glob("*.py") if "router = Router()" in p.read_text()]

    assert sorted(commands) == sorted(
        [*(f"run, handlers.{p.stem}" for p in routers), "snapshots, run, snapshots"]
    )
