"""replay: give a group again what it has had, or rebuild its read models beside those in use."""

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from busredis.cli.archive import open_archives
from busredis.cli.moments import positions
from busredis.cli.options import Json, Namespace, Url, connect, console, print_json
from busredis.cli.targets import find_routers
from busredis.client import Client
from busredis.commands import Flow, raw
from busredis.daemon.shadow import Progress as ShadowProgress
from busredis.daemon.shadow import Shadow
from busredis.errors import PartlyDone, ReplayRefused, SettingsError
from busredis.keys import Keys, parse_id
from busredis.replay import Moved, Rebuilt, check_group, left, move_everywhere, switch_everywhere
from busredis.router import Handler
from busredis.settings import Settings


def replay(
    group: Annotated[str, typer.Argument(help="The group: the name of a handler.")],
    *,
    since: Annotated[
        str,
        typer.Option(
            "--from", help="'beginning', a time, an age (30d), or an entry id; 3/...: in partition 3 alone."
        ),
    ],
    upto: Annotated[str | None, typer.Option("--to", help="Up to then; only with --shadow.")] = None,
    shadow: Annotated[
        str | None, typer.Option(help="Run it as this group, beside the other, on read models of its own.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="At most so many events/s; only with --shadow.")
    ] = None,
    switch: Annotated[
        bool,
        typer.Option(
            "--switch", help="Then put its read models in the place of those in use; with --shadow."
        ),
    ] = False,
    drop: Annotated[
        str | None, typer.Option(help="With --switch: read models named like this that were not rebuilt go.")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending-again", help="Replay what is pending like all others.")
    ] = False,
    with_side_effects: Annotated[
        bool,
        typer.Option("--with-side-effects", help="Run handlers too that are declared with side effects."),
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", help="With --shadow: module with the handler; default handlers."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for daemons to have done it.")
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Replay events to a group: busredis replay audit --from 7d. Its handlers see ctx.replaying."""
    client, partitions = connect(url, namespace)
    first = positions(since, "--from", client, partitions)
    if shadow is None:
        if upto or rate or switch or drop:
            raise SettingsError(
                "--to, --rate, --switch, --drop are for --shadow: a group that is moved back reads on to the end"
            )
        if not yes:
            typer.confirm(f"give {group} every event from {_shown(first)} on again?", abort=True)
        flow = move_everywhere(
            first, group, on_pending="again" if pending else "refuse", with_side_effects=with_side_effects
        )
        _say_moved(client, flow, (group, _shown(first)), json=json)
        if not no_wait:
            _wait(client, list(first), group, hidden=json)
        return
    settings = Settings.load(url=url, namespace=namespace)
    last = positions(upto or "now", "--to", client, partitions)
    if len(first) < len(partitions) or len(last) < len(partitions):
        raise SettingsError("a shadow is for all partitions: write a time, an age or 'beginning'")
    bounds = first[partitions[0]], last[partitions[0]]
    handler = _handler(group, modules)
    run = Shadow(handler, shadow, bounds, settings, rate=rate, with_side_effects=with_side_effects)
    if switch:
        client.run(check_group(partitions, group))  # before the work: there must be a group to switch
    done = _run_shadow(run, _expected(client, partitions, run, bounds, settings), hidden=json)
    told = f"{shadow} has handled {done.copied:,} events, {done.dead} dead letter(s)"
    result: dict[str, Any] = {"handled": done.copied, "dead": done.dead}
    if not switch:
        _say(json, result, f"{told}; its read models are view:...@{shadow}")
        return
    result |= _switch(client, (shadow, group, bounds[0], drop), done, yes=yes)
    _say(
        json, result, f"{told}; {result['switched']} read model(s) switched over, {result['dropped']} dropped"
    )


def _shown(first: dict[Keys, str]) -> str:
    """From where on: an id; with its partition if it is that of one alone."""
    keys, at = next(iter(first.items()))
    return at if len(first) > 1 else keys.shown(at)


def _say_moved(client: Client, flow: Flow[list[Moved]], where: tuple[str, str], *, json: bool) -> None:
    """Moves a group and says so; also when it could not be moved in all partitions."""
    problem = None
    try:
        moved = client.run(flow)
    except PartlyDone as error:
        moved, problem = [one for part in error.results.values() for one in part], error
    _say(
        json,
        {"moved": [asdict(one) for one in moved]},
        f"{where[0]} reads again from {where[1]} in {len(moved)} stream(s)",
    )
    if problem is not None:
        raise problem


def _handler(group: str, modules: list[str] | None) -> Handler:
    handlers = {
        h.name: h for target in modules or ["handlers"] for router in find_routers(target) for h in router
    }
    if group not in handlers:
        raise SettingsError(
            f"no handler {group!r}; there are {', '.join(sorted(handlers))}; name the module of another with --import"
        )
    return handlers[group]


def _expected(
    client: Client, partitions: list[Keys], run: Shadow, bounds: tuple[str, str], settings: Settings
) -> int:
    """About how many entries there are, for the bar: what files say, and what streams hold."""
    low, high = map(parse_id, bounds)
    types = [cls.type_name for cls in run.handler.event_classes()]
    streams = [keys.stream(name) for keys in partitions for name in types]
    count: int = sum(client.run(raw("XLEN", stream).__iter__()) for stream in streams)
    if settings.archive:
        for archive in open_archives(None, settings.namespace).all(partitions):
            for file in archive.manifest().files:
                if (
                    file.event_type in types
                    and parse_id(file.last_id) >= low
                    and parse_id(file.first_id) <= high
                ):
                    count += file.rows
    return count


def _run_shadow(run: Shadow, expected: int, *, hidden: bool) -> ShadowProgress:
    with _bar("replaying", hidden=hidden) as bar:
        task = bar.add_task("", total=expected)
        return asyncio.run(run.run(lambda progress: bar.update(task, completed=progress.handled)))


def _switch(
    client: Client, what: tuple[str, str, str, str | None], done: ShadowProgress, *, yes: bool
) -> dict[str, Any]:
    shadow, group, first, drop = what
    if done.dead:
        raise ReplayRefused(
            f"{done.dead} dead letter(s) of {shadow}: its read models are not whole; see "
            f"busredis dead ls {shadow}; nothing was switched over"
        )
    if not yes:
        typer.confirm(f"put the read models of {shadow} in the place of those in use?", abort=True)
    parts = [Rebuilt(part.keys, part.reached, part.horizon) for part in done.parts]
    switches = client.run(switch_everywhere(parts, group, first, drop))
    return {
        "switched": sum(len(one.renamed) for one in switches),
        "dropped": sum(len(one.dropped) for one in switches),
    }


def _wait(client: Client, partitions: list[Keys], group: str, *, hidden: bool) -> None:
    """Until daemons have done it; the bar's end is an estimate from what was done so far."""

    def still_open() -> int:
        return sum(client.run(left(keys, group)) for keys in partitions)

    total = still_open()
    with _bar("replaying", hidden=hidden) as bar:
        task: TaskID = bar.add_task("", total=total)
        while (open_now := still_open()) > 0:
            bar.update(task, completed=total - open_now)
            time.sleep(0.2)


def _bar(what: str, *, hidden: bool) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)


def _say(json: bool, result: dict[str, Any], text: str) -> None:
    if json:
        print_json(result)
    else:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
