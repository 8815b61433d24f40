"""The commands, and what their errors look like: one sentence, exit code 1; 2 for wrong usage."""

import sys

import typer
from rich.console import Console

from busredis.cli import (
    aggregate,
    archive,
    dead,
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
)
from busredis.cli.terminal import printable
from busredis.errors import BusError, RegistrationError, SettingsError

app = typer.Typer(
    help="busredis: a message bus on Redis Streams. The server is --url, else BUSREDIS_URL, else REDIS_URL, else the "
    "embedded one of this folder ('busredis up').",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("up")(server.up)
app.command("down")(server.down)
app.command("run")(run.run)
app.command("publish")(publish.publish)
app.command("tail")(publish.tail)
app.command("status")(status.status)
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
    except BusError as error:
        _fail(error, 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, e.g. `busredis tail | head`
        sys.exit(1)


def _fail(error: BusError, code: int) -> None:
    text = printable(f"busredis: {error}")
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
    sys.exit(code)
