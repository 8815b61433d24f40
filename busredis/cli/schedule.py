"""schedule add, ls, cancel."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table
from busredis.cli.publish import Import, check_key, import_classes, parse
from busredis.cli.terminal import printable
from busredis.errors import BusError, SettingsError
from busredis.publisher import Publisher
from busredis.schedule import find_scheduled, soonest
from busredis.settings import Settings, read_duration

app = typer.Typer(
    help="Events that daemons append when they are due.", no_args_is_help=True, rich_markup_mode=None
)

Id = Annotated[str, typer.Argument(help="The id in the schedule, from 'schedule add' or 'schedule ls'.")]


class NotScheduled(BusError):
    """There is no event by this id in the schedule."""


@app.command("add")
def add(
    event_type: Annotated[str, typer.Argument(help="The event type.")],
    payload: Annotated[str, typer.Argument(help="The payload, or a whole event with a 'payload'.")],
    *,
    at: Annotated[
        str | None, typer.Option(help="When: ISO 8601, UTC if no zone is given: 2026-01-31T12:00.")
    ] = None,
    delay: Annotated[str | None, typer.Option("--in", help="After how long: 90, 500ms, 5m, 2h, 30d.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key, which becomes the id.")] = None,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Schedule one event: schedule add TaskAssignedEvent '{"task_id": "t-1"}' --in 2h."""
    check_key(key)
    import_classes(modules)
    limit = Settings.load(url=url, namespace=namespace).max_event_bytes
    event = parse(payload.encode("utf-8", "surrogateescape"), "the JSON", limit, event_type)
    wait = None if delay is None else read_duration(delay)
    if delay is not None and wait is None:
        raise SettingsError(f"--in {delay}: a number and a unit, such as 90, 500ms, 5m, 2h or 30d")
    with Publisher(url, namespace=namespace) as publisher:
        schedule_id = publisher.schedule(event, at=_time(at), delay=wait, key=key)
    if json:
        print_json({"id": schedule_id})
    else:
        typer.echo(schedule_id)


@app.command("ls")
def ls(
    limit: Annotated[int, typer.Option(min=1, help="Most events, the soonest first.")] = 100,
    *,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """List what waits, the soonest first."""
    client, partitions = connect(url, namespace)
    found = soonest([client.run(find_scheduled(keys, limit)) for keys in partitions], limit)
    if json:
        print_json(found)
        return
    if not found:
        console.print("nothing is scheduled")
        return
    rows: list[list[object]] = [
        [one.id, one.at.strftime("%Y-%m-%d %H:%M:%S"), one.event_type, str(one.event.get("payload"))[:80]]
        for one in found
    ]
    print_table(f"{len(found)} scheduled event(s)", ["id", "due (UTC)", "type", "payload"], rows)


@app.command("cancel")
def cancel(schedule_id: Id, *, url: Url = None, namespace: Namespace = None, json: Json = False) -> None:
    """Take an event out of the schedule, also one that is due and was not appended yet."""
    with Publisher(url, namespace=namespace) as publisher:
        if not publisher.cancel(schedule_id):
            raise NotScheduled(f"{schedule_id!r} is not in the schedule: appended or cancelled already?")
    if json:
        print_json({"id": schedule_id, "cancelled": True})
    else:
        console.print(printable(f"cancelled {schedule_id}"), highlight=False, markup=False)


def _time(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        found = datetime.fromisoformat(at)
    except ValueError:
        raise SettingsError(f"--at {at}: a time in ISO 8601, such as 2026-01-31T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
