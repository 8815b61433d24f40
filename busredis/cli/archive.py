"""archive; archive ls, verify, restore."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from busredis.archiver import Archived, Archiver, archive_each, joined, noted_head
from busredis.cli.moments import positions
from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.client import Client
from busredis.cold import Archive, Archives, FileEntry
from busredis.cold.verify import verify_all
from busredis.commands import raw
from busredis.errors import PartlyDone, ServerError, SettingsError
from busredis.keys import Keys
from busredis.partitions import all_keys
from busredis.restore import Range, restore_all
from busredis.settings import Settings

app = typer.Typer(
    help="Cold storage: old entries in Parquet files, still a part of every history.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
To = Annotated[
    str | None,
    typer.Option("--to", "--from-archive", help="Folder or URL of the archive; default BUSREDIS_ARCHIVE."),
]


@app.callback()
def archive(
    context: typer.Context,
    *,
    before: Annotated[
        str | None,
        typer.Option(help="What is older: 30d, a time, or an entry id; 3/...: of partition 3 alone."),
    ] = None,
    to: To = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be archived.")] = False,
    no_trim: Annotated[bool, typer.Option("--no-trim", help="Archive, and leave all in Redis.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Archive what is older, in every partition: busredis archive --before 30d --to URL."""
    if context.invoked_subcommand is not None:
        return
    if before is None:
        raise SettingsError(
            "archive what? busredis archive --before 30d --to FOLDER, or archive ls, verify, restore"
        )
    client, partitions = connect(url, namespace)
    bounds = positions(before, "--before", client, partitions)
    cold = _by_partition(open_archives(to, namespace), partitions)
    started = time.monotonic()
    with _progress("archiving", hidden=json) as bar:
        task = bar.add_task("", total=sum(_entries(client, keys) for keys in bounds))
        options: dict[str, Any] = {
            "trim": not no_trim,
            "progress": lambda _event_type, count: bar.advance(task, count),
        }
        archivers = [Archiver(client, keys, cold[keys], upto, **options) for keys, upto in bounds.items()]
        results, problem = _run(archivers, dry_run=dry_run)
    _report(results, time.monotonic() - started, dry_run=dry_run, json=json)
    if problem is not None:
        raise problem


def _run(archivers: list[Archiver], *, dry_run: bool) -> tuple[list[Archived], PartlyDone | None]:
    """What was done, and what kept it from being done in some partitions."""
    if dry_run:
        return joined(archiver.look() for archiver in archivers), None
    try:
        return archive_each(archivers), None
    except PartlyDone as problem:
        return joined(problem.results.values()), problem


def open_archives(to: str | None, namespace: str | None) -> Archives:
    """The archives at the place that is named here or by the settings. Raises SettingsError if none is."""
    settings = Settings.load(namespace=namespace, archive=to)
    if not settings.archive:
        raise SettingsError("no archive: --to FOLDER_OR_URL, or BUSREDIS_ARCHIVE")
    return Archives(settings.archive, settings.namespace)


def _by_partition(archives: Archives, partitions: list[Keys]) -> dict[Keys, Archive]:
    return dict(zip(partitions, archives.all(partitions), strict=True))


def _entries(client: Client, keys: Keys) -> int:
    """About how many there are, for the bar; a partition that cannot be reached has none, and is told of later."""
    try:
        archiver_types = client.run(raw("SMEMBERS", keys.types).__iter__())
        return sum(client.run(raw("XLEN", keys.stream(name.decode())).__iter__()) for name in archiver_types)
    except ServerError:
        return 0


def _report(results: list[Archived], seconds: float, *, dry_run: bool, json: bool) -> None:
    total = Archived("all")
    for one in results:
        total.entries += one.entries
        total.hot_bytes += one.hot_bytes
        total.cold_bytes += one.cold_bytes
        total.trimmed += one.trimmed
    rate = total.entries / max(seconds, 1e-6)
    if json:
        rows = [asdict(one) for one in results]
        print_json(
            {
                "dry_run": dry_run,
                "seconds": seconds,
                "entries_per_s": rate,
                "total": asdict(total),
                "types": rows,
            }
        )
        return
    shown = [one for one in [*results, total] if one.entries or one.trimmed or one.pinned_by or one is total]
    columns = ["type", "entries", "bytes", "files", "bytes cold", "trimmed", "kept in Redis for"]
    table: list[list[object]] = [
        [
            one.event_type,
            one.entries,
            one.hot_bytes,
            sum(len(r.files) for r in results) if one is total else len(one.files),
            one.cold_bytes,
            one.trimmed,
            one.pinned_by,
        ]
        for one in shown
    ]
    print_table("would be archived" if dry_run else "archived", columns, table)
    share = f", {total.cold_bytes / total.hot_bytes:.1%} of the bytes" if total.cold_bytes else ""
    console.print(f"{total.entries:,} entries in {seconds:.1f} s, {rate:,.0f}/s{share}", highlight=False)


@app.command("ls")
def ls(*, to: To = None, namespace: Namespace = None, json: Json = False) -> None:
    """List the files of an archive."""
    files = [
        _listed(archive, file)
        for archive in open_archives(to, namespace).there()
        for file in archive.manifest().files
    ]
    if json:
        print_json(files)
        return
    if not files:
        console.print("the archive is empty")
        return
    columns = ("event_type", "day", "rows", "bytes", "first_id", "last_id", "path")
    rows: list[list[object]] = [[file[column] for column in columns] for file in files]
    print_table(f"{len(files)} file(s)", ["type", "day", "entries", "bytes", "first", "last", "file"], rows)


def _listed(archive: Archive, file: FileEntry) -> dict[str, Any]:
    """A file with its path below the folder of the namespace."""
    folder = "" if archive.owner.partition is None else f"p{archive.owner.partition}/"
    return asdict(file) | {"path": f"{folder}{file.path}"}


@app.command("verify")
def verify(
    *,
    to: To = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the server for the last line.")
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Read every file and compare it with the manifest, and the manifest with what the bus noted; exit code 1 if not."""
    cold, heads = open_archives(to, namespace), {}
    if offline:
        archives = cold.there()
    else:
        client, partitions = connect(url, namespace)
        archives = cold.all(partitions)
        for number, keys in enumerate(partitions):
            if noted := noted_head(client, keys):
                heads[number] = noted[0]
    with _progress("verifying", hidden=json) as bar:
        task = bar.add_task("", total=None)
        found = verify_all(archives, cold.place, heads, lambda _file: bar.advance(task))
    if json:
        print_json(asdict(found))
    else:
        for problem in found.problems:
            console.print(problem, markup=False, highlight=False, soft_wrap=True)
        for stray in found.strays:
            console.print(f"not in the manifest, and not read: {stray}", markup=False, highlight=False)
        verdict = f"{len(found.problems)} problem(s)" if found.problems else "as written"
        console.print(
            f"{found.files} file(s), {found.rows:,} entries, {found.bytes:,} bytes: {verdict}",
            highlight=False,
        )
    if found.problems:
        raise typer.Exit(1)


@app.command("restore")
def restore(
    *,
    into: Annotated[str, typer.Option(help="A namespace in which there is nothing yet.")],
    since: Annotated[
        str, typer.Option("--from", help="A time, an age, or an entry id; 3/...: of partition 3 alone.")
    ] = "beginning",
    upto: Annotated[str, typer.Option("--to-time", help="Up to this time, age or id.")] = "now",
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type; may be given again.")
    ] = None,
    to: To = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Put a range of archived entries, under their ids, into the streams of another namespace, to look at them."""
    client, partitions = connect(url, namespace)
    targets = all_keys(Settings.load(namespace=into).namespace, len(partitions))
    if targets[0].namespace == partitions[0].namespace:
        raise SettingsError(f"--into {into}: that is the namespace of the bus itself; name another one")
    cold = _by_partition(open_archives(to, namespace), partitions)
    first = positions(since, "--from", client, partitions)
    last = positions(upto, "--to-time", client, partitions)
    ranges = [
        Range(cold[keys], target, (first[keys], last[keys]))
        for keys, target in zip(partitions, targets, strict=True)
        if keys in first and keys in last
    ]
    if not ranges:
        raise SettingsError(
            f"--from {since}, --to-time {upto}: these are of two partitions, and nothing is between"
        )
    with _progress("restoring", hidden=json) as bar:
        task = bar.add_task("", total=None)
        found = client.run(restore_all(ranges, targets, event_type, lambda count: bar.advance(task, count)))
    if json:
        print_json({"namespace": into, "entries": found})
        return
    for name, count in found.items():
        where = (
            targets[0].stream(name)
            if len(targets) == 1
            else f"{name}, in {len(targets)} partitions of {into}"
        )
        console.print(f"{count:,} entries in {where}", markup=False, highlight=False)
    if not found:
        console.print("the archive has nothing of that time")


def _progress(what: str, *, hidden: bool) -> Progress:
    columns: list[Any] = [
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
    ]
    return Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=hidden
    )
