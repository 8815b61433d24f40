"""The commands, and what their errors look like: one sentence, exit code 1; 2 for wrong usage."""

import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console

from busredis.cli import (
    aggregate,
    archive,
    dead,
    doctor,
    forget,
    groups,
    partitions,
    publish,
    replay,
    retention,
    run,
    schedule,
    server,
    snapshots,
    status,
    tail,
)
from busredis.cli.terminal import printable
from busredis.errors import BusError, CommandRefused, NotSent, RegistrationError, SettingsError

_NO_SERVER = (
    "; does a server run there, and is that its address? It is what --url says, else BUSREDIS_URL, else REDIS_URL; "
    "'busredis up' starts a server for this folder"
)
_CLUSTER = "; this server is a node of a cluster: write redis+cluster://HOST:PORT,HOST:PORT"


def show_version(is_asked: bool) -> None:
    """Prints the version of the installed package, and ends."""
    if is_asked:
        typer.echo(f"busredis {metadata.version('busredis')}")
        raise typer.Exit


app = typer.Typer(
    help="A message bus on Redis Streams. The server is what --url says, else BUSREDIS_URL, else REDIS_URL, else the one "
    "that 'busredis up' started for this folder. To begin: busredis up; busredis doctor; busredis run shop.handlers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None: ...


app.command("up")(server.up)
app.command("down")(server.down)
app.command("run")(run.run)
app.command("publish")(publish.publish)
app.command("tail")(tail.tail)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("partitions")(partitions.partitions)
app.command("forget")(forget.forget)
app.command("replay")(replay.replay)
app.command("demo")(run.demo)
app.add_typer(dead.app, name="dead")
app.add_typer(aggregate.app, name="aggregate")
app.add_typer(groups.app, name="groups")
app.add_typer(retention.app, name="retention")
app.add_typer(schedule.app, name="schedule")
app.add_typer(archive.app, name="archive")
app.add_typer(snapshots.app, name="snapshots")


def main() -> None:
    """Runs the command line; never shows a traceback of ours for an error that has a sentence."""
    try:
        app()
    except (SettingsError, RegistrationError) as error:
        _fail(error, 2)
    except NotSent as error:
        _fail(error, 1, _NO_SERVER)
    except CommandRefused as error:
        _fail(error, 1, _CLUSTER if str(error).startswith("MOVED ") else "")
    except BusError as error:
        _fail(error, 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, e.g. `busredis tail | head`
        sys.exit(1)


def _fail(error: BusError, code: int, advice: str = "") -> None:
    text = printable(f"busredis: {str(error).rstrip('.')}{advice}")
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
    sys.exit(code)
