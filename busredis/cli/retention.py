"""retention set, ls, apply."""

from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.cli.terminal import printable
from busredis.errors import PartlyDone, SettingsError
from busredis.events.fields import valid_type_name
from busredis.kept import apply_everywhere, find_kept, joined, set_everywhere
from busredis.retention import EVERY_TYPE, Retention, Trimmed
from busredis.settings import read_duration

app = typer.Typer(
    help="How long entries are kept, by event type. What a group has not acknowledged always stays.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("set")
def set_(
    event_type: Annotated[str, typer.Argument(help="The event type, or '*' for all that are not named.")],
    *,
    max_age: Annotated[str | None, typer.Option(help="Keep entries for so long: 30d, 12h.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=0, help="Keep the newest so many, in each partition.")
    ] = None,
    acked: Annotated[bool, typer.Option("--acked", help="Keep until every group has acknowledged.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep for good, whatever '*' or a program says.")
    ] = False,
    histories: Annotated[
        bool,
        typer.Option(
            "--histories", help="Also events of aggregates: those can then be loaded from backups alone."
        ),
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Set how long the entries of a type are kept: retention set UserLoggedInEvent --max-age 30d."""
    if sum((max_age is not None, max_length is not None, acked, keep)) != 1:
        raise SettingsError("say one of --max-age 30d, --max-length N, --acked, --keep")
    age = None if max_age is None else read_duration(max_age)
    if max_age is not None and age is None:
        raise SettingsError(f"--max-age {max_age}: a number and a unit, such as 90, 12h or 30d")
    if event_type != EVERY_TYPE:
        valid_type_name(event_type)
    elif histories:
        raise SettingsError("--histories is decided type by type: name the type")
    retention = Retention(max_age=age, max_length=max_length, acked=acked, histories=histories)
    # Recorded now, if it is the first use: what is set is to hold in all partitions that there will ever be.
    client, partitions = connect(url, namespace, first_use=True)
    client.run(set_everywhere(partitions, event_type, retention))
    where = f", in each of {len(partitions)} partitions" if len(partitions) > 1 else ""
    console.print(f"{event_type}: {retention}{where}", highlight=False, markup=False)


@app.command("ls")
def ls(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """List what is set, and what stays beyond it, and why."""
    client, partitions = connect(url, namespace)
    found = client.run(find_kept(partitions))
    if json:
        print_json(found)
        return
    columns = ["event type", "retention", "entries", "pinned by"]
    rows: list[list[object]] = [
        [one.event_type, one.retention, one.entries, one.pinned_by or "-"] for one in found
    ]
    print_table("Retention", columns, rows)


@app.command("apply")
def apply(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """Trim now what daemons would trim within a minute."""
    client, partitions = connect(url, namespace)
    problem = None
    try:
        found = client.run(apply_everywhere(partitions))
    except PartlyDone as error:
        found, problem = joined(list(error.results.values())), error
    if json:
        print_json(found)
    else:
        _show(found)
    if problem is not None:
        raise problem


def _show(found: dict[str, Trimmed]) -> None:
    for name, trimmed in found.items():
        pinned = f", the rest is pinned by {trimmed.pinned_by}" if trimmed.pinned_by else ""
        text = printable(f"{name}: {trimmed.removed:,} removed{pinned}")
        console.print(text, highlight=False, markup=False)
