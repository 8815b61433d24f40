"""retention set, ls, apply."""

from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect_one, console, print_json, print_table
from busredis.cli.terminal import printable
from busredis.errors import SettingsError
from busredis.events.fields import valid_type_name
from busredis.retention import EVERY_TYPE, Retention, find_kept, plan, set_retention, trim
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
    max_length: Annotated[int | None, typer.Option(min=0, help="Keep the newest so many.")] = None,
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
    client, keys = connect_one(url, namespace)
    client.run(set_retention(keys, event_type, retention))
    console.print(f"{event_type}: {retention}", highlight=False, markup=False)


@app.command("ls")
def ls(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """List what is set, and what stays beyond it, and why."""
    client, keys = connect_one(url, namespace)
    found = client.run(find_kept(keys))
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
    client, keys = connect_one(url, namespace)
    found = {name: client.run(trim(keys, name, limits)) for name, limits in client.run(plan(keys)).items()}
    if json:
        print_json(found)
        return
    for name, trimmed in found.items():
        pinned = f", the rest is pinned by {trimmed.pinned_by}" if trimmed.pinned_by else ""
        text = printable(f"{name}: {trimmed.removed:,} removed{pinned}")
        console.print(text, highlight=False, markup=False)
