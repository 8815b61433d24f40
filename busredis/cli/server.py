"""up and down: the embedded server."""

from typing import Annotated

import typer

from busredis.cli.options import say
from busredis.server import EmbeddedServer


def up() -> None:
    """Start a server for this folder, or find it.

    It keeps its data in .busredis and goes on until 'busredis down'. Says how to look inside.
    """
    server = EmbeddedServer()
    url = server.start()
    say(f"{server.version} at {url}, data in {server.folder}")
    say(f"look inside:  {server.redis_cli}")
    say(f"use it:       export BUSREDIS_URL={url}")


def down(*, quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False) -> None:
    """Stop the embedded server of this folder; its data stays."""
    stopped = EmbeddedServer().stop(force=True)
    if not quiet:
        say("stopped; its data stays in .busredis" if stopped else "no server runs for this folder")
