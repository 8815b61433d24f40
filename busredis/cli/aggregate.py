"""aggregate show, history, diff."""

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from busredis.aggregate import EventSourcedAggregate
from busredis.cli.options import Json, Namespace, Url, console, print_json, print_table, say
from busredis.cli.targets import find_aggregates, find_in
from busredis.errors import SettingsError
from busredis.keys import parse_id
from busredis.repository import Repository
from busredis.store import AggregateId, EventStore, StoredEvent

app = typer.Typer(
    help="Aggregates: their state now and then, and their history.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Type = Annotated[str, typer.Argument(help="The type of the aggregate, say User.")]
Id = Annotated[str, typer.Argument(help="Its id.")]
Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="Module or package with your aggregate classes, such as shop.aggregates; default: snapshots.",
    ),
]


@app.command("show")
def show(
    aggregate_type: Type,
    aggregate_id: Id,
    *,
    at_version: Annotated[int | None, typer.Option(min=1, help="As it was at this version.")] = None,
    at: Annotated[
        str | None, typer.Option(help="As it was at this time: 2026-11-25T10:00, UTC if no zone.")
    ] = None,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Show the state of an aggregate, now or then."""
    cls = find_class(aggregate_type, modules)
    with EventStore(url, namespace=namespace) as store:
        found = Repository(store).load(cls, aggregate_id, at_version, _time(at))
        [last] = store.read(found.key, after=found.version - 1, upto=found.version)
    document = {**_identity(found), "recorded_at": _recorded(last), "state": _state(found)}
    if json:
        print_json(document)
        return
    say(f"{aggregate_type} {aggregate_id}  version {found.version}  {_recorded(last)}")
    console.print_json(orjson.dumps(document["state"]).decode())


@app.command("history")
def history(
    aggregate_type: Type,
    aggregate_id: Id,
    *,
    after: Annotated[int, typer.Option(min=0, help="Only versions above this one.")] = 0,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Most events, the newest ones.")] = 100,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """List what happened to an aggregate: versions, times, events, who."""
    find_class(aggregate_type, modules)
    with EventStore(url, namespace=namespace) as store:
        aggregate = AggregateId(aggregate_type, aggregate_id)
        found = list(store.read(aggregate, after=after, backward=True, limit=limit))[::-1]
        version = found[-1].version if found else store.version(aggregate)
    if json:
        print_json([_event(one) for one in found])
        return
    if not found:
        say(f"no events of {aggregate_type} {aggregate_id} after version {after}")
        return
    rows: list[list[object]] = [
        [
            one.version,
            _recorded(one),
            one.event.event_type,
            one.event.metadata["user_id"] or "-",
            _payload(one),
        ]
        for one in found
    ]
    title = f"{aggregate_type} {aggregate_id}, {len(found)} of {version} events"
    print_table(title, ["version", "recorded", "event", "who", "payload"], rows)


@app.command("diff")
def diff(
    aggregate_type: Type,
    aggregate_id: Id,
    first: Annotated[int, typer.Argument(min=1, help="A version.")],
    second: Annotated[int, typer.Argument(min=1, help="Another one.")],
    *,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Show what differs in its state between two versions."""
    cls = find_class(aggregate_type, modules)
    with EventStore(url, namespace=namespace) as store:
        repository = Repository(store)
        before, after = (_state(repository.load(cls, aggregate_id, version)) for version in (first, second))
    changes = [{"path": path, "before": old, "after": new} for path, old, new in differences(before, after)]
    if json:
        print_json(changes)
        return
    if not changes:
        say(f"versions {first} and {second} have the same state")
        return
    rows: list[list[object]] = [
        [change["path"], *map(_shown, (change["before"], change["after"]))] for change in changes
    ]
    print_table(f"{aggregate_type} {aggregate_id}", ["field", f"version {first}", f"version {second}"], rows)


def differences(before: Any, after: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two JSON values differ: path, what was there, what is there; None for nothing."""
    if before == after and type(before) is type(after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return [
            change
            for name in names
            for change in differences(before.get(name), after.get(name), f"{path}.{name}" if path else name)
        ]
    return [(path, before, after)]


def find_class(aggregate_type: str, modules: list[str] | None) -> type[EventSourcedAggregate[Any]]:
    """The aggregate class of a type. Raises SettingsError that says which there are."""
    classes = {cls.aggregate_type: cls for cls in find_in(modules, "snapshots", find_aggregates)}
    if aggregate_type not in classes:
        raise SettingsError(
            f"no aggregate {aggregate_type!r}; there are {', '.join(sorted(classes))}; "
            "name the module of another with --import"
        )
    return classes[aggregate_type]


def _time(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        raise SettingsError(
            f"--at {at}: a time is written 2026-11-25T10:00:00, with +01:00 or Z for its zone"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _identity(found: EventSourcedAggregate[Any]) -> dict[str, Any]:
    return {"type": found.aggregate_type, "id": found.id, "version": found.version}


def _state(found: EventSourcedAggregate[Any]) -> Any:
    return found.state.model_dump(mode="json")


def _recorded(one: StoredEvent) -> str:
    return datetime.fromtimestamp(parse_id(one.position)[0] / 1000, UTC).isoformat(" ", "milliseconds")


def _event(one: StoredEvent) -> dict[str, Any]:
    return {
        "version": one.version,
        "position": one.position,
        "recorded_at": _recorded(one),
        **one.event.to_dict(),
    }


def _payload(one: StoredEvent) -> str:
    return _shown(one.event.to_dict()["payload"])


def _shown(value: Any) -> str:
    text = "-" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}..."
