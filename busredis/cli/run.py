"""run: handler daemons. demo: everything at work, in a minute."""

import asyncio
import importlib
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

from busredis.cli import logs
from busredis.cli.demo import Demo
from busredis.cli.options import Namespace, Url
from busredis.cli.supervisor import supervise
from busredis.cli.targets import find_routers
from busredis.daemon import Daemon
from busredis.errors import SettingsError


class LogFormat(StrEnum):
    text = "text"
    json = "json"


def run(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Module or package with handlers, such as shop.handlers; or one router of it, shop.handlers:router."
        ),
    ],
    *,
    group: Annotated[
        list[str] | None, typer.Option(help="Run only the handler of this name; may be given again.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Events at a time, for each handler; default: what the handler says."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Daemons to start; they share the work, and one that crashes is replaced."),
    ] = 1,
    burst: Annotated[
        bool, typer.Option("--burst", help="End when nothing is left to do, instead of waiting for more.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="For people or for programs.")] = LogFormat.text,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Run handlers: a daemon, until SIGTERM or Ctrl-C.

    It ends when the handlers that run are done, or after BUSREDIS_GRACE. Start as many as you like; each event is handled
    by one of them. For example: busredis run shop.handlers --processes 4.
    """
    if log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"--log-level {log_level}: DEBUG, INFO, WARNING or ERROR")
    logs.configure("json" if log_format is LogFormat.json else "text", log_level.upper())
    routers = [router for target in targets for router in find_routers(target)]
    if concurrency is not None:
        routers = [router.with_concurrency(concurrency) for router in routers]
    daemon = Daemon(*routers, url=url, namespace=namespace, groups=group or None, burst=burst)
    if processes > 1:
        raise typer.Exit(supervise(_without_processes(sys.argv[1:]), processes))
    daemon.run(loop_factory=_fast_loop())


def demo() -> None:
    """Show what is promised, with a server of its own.

    Events are published, daemons run, one is killed, a handler fails, a dead letter is handed back: in a minute at most.
    """
    raise typer.Exit(Demo().run())


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop, if it is installed: busredis[fast]."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _without_processes(arguments: list[str]) -> list[str]:
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--processes="):
            skip = False
        elif argument == "--processes":
            skip = True
        else:
            kept.append(argument)
    return kept
