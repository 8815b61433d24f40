"""snapshots run, ls, rebuild, drop."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from busredis.aggregate import EventSourcedAggregate
from busredis.cli import logs
from busredis.cli.aggregate import Import
from busredis.cli.options import Json, Namespace, Url, connect, print_json, print_table, say
from busredis.cli.targets import find_aggregates, find_in
from busredis.client import AsyncClient
from busredis.daemon import Daemon
from busredis.errors import BusError, ServerError, SettingsError
from busredis.histories import SnapshotInfo, describe_snapshots, drop_snapshots, find_everywhere
from busredis.location import server_url
from busredis.partitions import learn
from busredis.repository import AsyncRepository, Repository
from busredis.settings import Settings
from busredis.snapshotter import Pass, Snapshotter
from busredis.store import AsyncEventStore, EventStore

log = logging.getLogger("busredis.snapshots")

app = typer.Typer(
    help="Snapshots: they make the loading of aggregates fast.", no_args_is_help=True, rich_markup_mode=None
)
Type = Annotated[str | None, typer.Argument(help="Only aggregates of this type.")]
Id = Annotated[str | None, typer.Argument(help="Only this one.")]


@app.command("run")
def run(
    targets: Annotated[list[str], typer.Argument(help="Modules or packages with aggregate classes.")],
    *,
    every: Annotated[float, typer.Option(min=1, help="Seconds between passes over all aggregates.")] = 600,
    burst: Annotated[bool, typer.Option("--burst", help="One pass, then end when no event is left.")] = False,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Write snapshots as events come: a daemon.

    Those that it missed are found in passes over all aggregates.
    """
    logs.configure("text", "INFO")
    classes = [cls for target in targets for cls in find_aggregates(target)]
    settings = Settings.load(url=url, namespace=namespace)
    asyncio.run(_run(classes, settings, timedelta(seconds=every), burst=burst))


async def _run(
    classes: list[type[EventSourcedAggregate[Any]]], settings: Settings, every: timedelta, *, burst: bool
) -> None:
    url = server_url(settings)
    client = AsyncClient(url)
    async with AsyncEventStore(url, namespace=settings.namespace) as store:
        snapshotter = Snapshotter(classes, AsyncRepository(store))
        daemon = Daemon(snapshotter.router, url=url, namespace=settings.namespace, burst=burst)
        passes = asyncio.create_task(_passes(snapshotter, client, settings, every, burst=burst))
        try:
            if burst:
                await passes
            await daemon.serve()
        finally:
            passes.cancel()
            with suppress(asyncio.CancelledError):
                await passes
            await client.close()


async def _passes(
    snapshotter: Snapshotter, client: AsyncClient, settings: Settings, every: timedelta, *, burst: bool
) -> None:
    while True:
        told = -10_000

        def tell(done: Pass) -> None:
            nonlocal told
            if done.looked_at - told >= 10_000:
                told = done.looked_at
                log.info("pass: %s aggregates looked at, %s snapshots written", done.looked_at, done.written)

        try:
            partitions = await client.run(learn(settings.namespace, settings.partitions))
            done = await snapshotter.pass_over_all(partitions, client, tell)
        except ServerError as error:
            if burst:
                raise
            log.warning("the pass over all aggregates was broken off: %s", error)
        else:
            message = "pass done: %s aggregates, %s snapshots written, %s could not be"
            log.info(message, done.looked_at, done.written, done.failed)
        if burst:
            return
        await asyncio.sleep(every.total_seconds())


@app.command("ls")
def ls(
    aggregate_type: Type = None,
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Most snapshots.")] = 100,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """List snapshots: how far behind they are, their size and age."""
    client, partitions = connect(url, namespace)
    aggregates = client.run(find_everywhere(partitions, aggregate_type, snapshots=True))
    found = client.run(describe_snapshots(partitions, aggregates[:limit]))
    if json:
        print_json(found)
        return
    rows: list[list[object]] = [
        [
            one.type,
            one.id,
            one.version,
            _behind(one),
            one.bytes,
            one.taken_at[:19].replace("T", " "),
            one.schema,
        ]
        for one in found
    ]
    title = f"{len(found)} of {len(aggregates)} snapshot(s)"
    print_table(title, ["type", "id", "version", "events behind", "bytes", "taken", "schema"], rows)


@app.command("rebuild")
def rebuild(
    aggregate_type: Type = None,
    aggregate_id: Id = None,
    *,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Write snapshots anew, from all events."""
    classes = {cls.aggregate_type: cls for cls in find_in(modules, "snapshots", find_aggregates)}
    client, partitions = connect(url, namespace)
    if aggregate_type is not None and aggregate_type not in classes:
        raise SettingsError(f"no aggregate {aggregate_type!r}; there are {', '.join(sorted(classes))}")
    aggregates = [
        one for one in client.run(find_everywhere(partitions, aggregate_type)) if one.type in classes
    ]
    aggregates = [one for one in aggregates if aggregate_id in (None, one.id)]
    failures: dict[str, str] = {}
    bar = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*bar, console=Console(stderr=True), transient=True, disable=json)
    with EventStore(url, namespace=namespace) as store, progress:
        repository = Repository(store)
        for one in progress.track(aggregates):
            try:
                repository.rebuild(classes[one.type], one.id)
            except ServerError:
                raise
            except BusError as error:
                failures[f"{one.type} {one.id}"] = str(error)
    if json:
        print_json({"rebuilt": len(aggregates) - len(failures), "failed": failures})
    else:
        say(f"rebuilt {len(aggregates) - len(failures)} snapshot(s)")
        for name, reason in failures.items():
            say(f"failed: {name}: {reason}")
    if failures:
        raise typer.Exit(1)


@app.command("drop")
def drop(
    aggregate_type: Type = None,
    aggregate_id: Id = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Delete snapshots; no event is touched.

    Loading takes longer until they are written anew.
    """
    client, partitions = connect(url, namespace)
    found = [
        one
        for one in client.run(find_everywhere(partitions, aggregate_type, snapshots=True))
        if aggregate_id in (None, one.id)
    ]
    if not yes:
        typer.confirm(f"delete {len(found)} snapshot(s)?", abort=True)
    dropped = sum(
        client.run(drop_snapshots(partitions, found[start : start + 500]))
        for start in range(0, len(found), 500)
    )
    if json:
        print_json({"dropped": dropped})
    else:
        say(f"dropped {dropped} snapshot(s)")


def _behind(one: SnapshotInfo) -> object:
    return one.history_version - int(one.version) if one.version.isdigit() else "?"
