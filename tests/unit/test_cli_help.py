"""What the command line says of itself, and of modules that it does not find."""

import re
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from busredis.cli import app as program
from busredis.cli.app import app
from busredis.cli.targets import find_aggregates, find_in, find_routers
from busredis.client import Client
from busredis.commands import raw
from busredis.errors import NotSent, SettingsError
from busredis.settings import Settings

GROUP = typer.main.get_command(app)
COMMANDS = {(name,): command for name, command in GROUP.commands.items()}
COMMANDS |= {
    (*path, name): command
    for path, group in list(COMMANDS.items())
    for name, command in getattr(group, "commands", {}).items()
}


def ask(*arguments: str) -> str:
    found = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert found.exit_code == 0, found.output
    return found.output


def test_the_version_is_that_of_the_package():
    assert ask("--version") == f"busredis {version('busredis')}\n"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_every_option_says_what_it_is(path):
    command = COMMANDS[path]

    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), (path, parameter.name)


@pytest.mark.parametrize(
    "path", [(), *(path for path, one in COMMANDS.items() if hasattr(one, "commands"))], ids=" ".join
)
def test_what_a_list_of_commands_says_of_each_is_whole_at_80_columns(path):
    listed = ask(*path, "--help").partition("Commands:")[2]

    assert re.findall(r".*\.\.\.", listed) == []


def test_a_module_that_is_not_there_is_told_from_one_that_it_imports(tmp_path, monkeypatch):
    (tmp_path / "lame_shop.py").write_text("import not_installed_here")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        SettingsError, match=r"no module 'gone_shop' here or on the Python path: it is gone_shop.py"
    ):
        find_routers("gone_shop")
    with pytest.raises(SettingsError, match=r"write a module, not a file: shop.handlers$"):
        find_routers("./shop/handlers.py")
    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        find_routers("lame_shop")


def test_who_has_no_module_of_the_default_name_is_told_of_the_option():
    with pytest.raises(SettingsError, match=r"^say with --import .*: --import shop.no_snapshots; no module"):
        find_in(None, "no_snapshots", find_aggregates)
    with pytest.raises(SettingsError, match=r"^no module 'no_snapshots'"):
        find_in(["no_snapshots"], "snapshots", find_aggregates)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"namespace": "a b"},
            "namespace: letters, digits, '_', '.', '-', at most 64 of them (BUSREDIS_NAMESPACE)",
        ),
        ({"partitions": "four"}, "partitions: that is no whole number (BUSREDIS_PARTITIONS)"),
        ({"lease": "soon"}, "lease: a duration is a number and a unit: 30s, 500ms, 2m (BUSREDIS_LEASE)"),
        ({"lease": 0}, "settings: lease must be longer than 0 s, it is 0:00:00"),
    ],
)
def test_a_setting_that_cannot_be_says_what_can_and_which_variable_it_is(given, says):
    with pytest.raises(SettingsError) as caught:
        Settings.load(**given)

    assert str(caught.value) == says


def test_sentinels_that_do_not_answer_are_told_in_a_sentence(free_port):
    client = Client(f"redis+sentinel://127.0.0.1:{free_port}/main")

    with pytest.raises(NotSent) as caught:
        client.run(iter(raw("PING")))

    client.close()
    assert str(caught.value) == (
        f"no connection to redis+sentinel://127.0.0.1:{free_port}/main: No master found for 'main'"
    )


def test_an_error_that_has_a_sentence_has_no_traceback_and_says_what_to_do(monkeypatch, capsys, free_port):
    monkeypatch.setattr("sys.argv", ["busredis", "status", "--url", f"redis://127.0.0.1:{free_port}"])

    with pytest.raises(SystemExit) as ended:
        program.main()

    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Connection refused; does a server run there" in told
    assert "Traceback" not in told
