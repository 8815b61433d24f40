"""groups ls, prune."""

from datetime import timedelta
from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.cli.terminal import printable
from busredis.client import Client
from busredis.errors import BusError, SettingsError
from busredis.groups import Group, abandoned, find_groups_everywhere, prune_everywhere
from busredis.keys import Keys
from busredis.settings import read_duration

app = typer.Typer(
    help="Consumer groups: one is kept for each handler that ever ran.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
def ls(*, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """List groups, and since when nobody runs them."""
    client, partitions = connect(url, namespace)
    found = client.run(find_groups_everywhere(partitions))
    if json:
        print_json(found)
    else:
        _show(found)


@app.command("prune")
def prune_(
    names: Annotated[list[str] | None, typer.Argument(help="Only these groups; default: all.")] = None,
    *,
    silent: Annotated[str, typer.Option(help="That no consumer was seen for so long: 7d, 12h.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Remove groups that nobody runs any more, so that what they never read can be trimmed; dead letters stay."""
    least = read_duration(silent)
    if least is None:
        raise SettingsError(f"--silent {silent}: a number and a unit, such as 90, 12h or 7d")
    client, partitions = connect(url, namespace)
    groups = client.run(find_groups_everywhere(partitions))
    unknown = set(names or []) - {group.name for group in groups}
    if unknown:
        raise SettingsError(f"there is no group {', '.join(sorted(unknown))}: see 'busredis groups ls'")
    chosen = [group for group in abandoned(groups, least) if not names or group.name in names]
    if not json:
        _show(chosen)
    if chosen and not dry_run and not yes:
        what = f"remove {len(chosen)} group(s) and what they had read, pending and waiting, for good?"
        typer.confirm(what, abort=True, err=json)
    pruned, problem = ([], None) if dry_run else _prune(client, partitions, chosen, least)
    if json:
        print_json({"abandoned": chosen, "pruned": [group.name for group in pruned]})
    else:
        for group in pruned:
            console.print(printable(f"removed {group.name}"), highlight=False, markup=False)
    if problem is not None:
        raise problem


def _prune(
    client: Client, partitions: list[Keys], chosen: list[Group], least: timedelta
) -> tuple[list[Group], BusError | None]:
    """Those that were removed, and what kept the first from being removed whole."""
    pruned: list[Group] = []
    for group in chosen:
        try:
            if client.run(prune_everywhere(partitions, group, least)):
                pruned.append(group)
        except BusError as problem:
            return pruned, problem
    return pruned, None


def _show(groups: list[Group]) -> None:
    if not groups:
        console.print("no such groups")
        return
    rows: list[list[object]] = [
        [
            *(group.name, ", ".join(group.event_types) or "- (lost, its checkpoint is left)", group.open),
            "never seen" if group.silent is None else f"{group.silent:,.1f} s",
        ]
        for group in groups
    ]
    print_table(f"{len(groups)} group(s)", ["group", "types", "pending", "silent for"], rows)
