"""publish: one event, or a file of them."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from busredis.cli.lines import bounded_lines, is_cut, longest_line
from busredis.cli.options import Namespace, Url, note
from busredis.cli.targets import missing
from busredis.codec import Codec
from busredis.errors import BusError, DecodeError, SettingsError, UnknownEventType
from busredis.events import DomainEvent
from busredis.publisher import Publisher
from busredis.settings import Settings
from busredis.vault import MemoryKeys, Vault

#: Lines that are checked and then published together.
_CHUNK = 1_000

Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import", help="Module with your event classes, such as shop.events; default: busredis.catalog."
    ),
]


#: How much longer an event can become than its line: 1e15 is written as 1000000000000000.0, and metadata is added.
_GROWTH = 8


class BadLine(BusError):
    """A line that is no event."""


def publish(
    event_type: Annotated[str | None, typer.Argument(help="Its type, such as UserLoggedInEvent.")] = None,
    json: Annotated[
        str | None, typer.Argument(help="Its payload in JSON, or a whole event with a 'payload'.")
    ] = None,
    *,
    jsonl: Annotated[
        str | None, typer.Option("--jsonl", help="A file with one event a line, or - for standard input.")
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="With --jsonl: bad lines go to this file, and the run goes on; without it the first one ends it."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="A name for this publish: the same again, with the same name, stores nothing twice."
        ),
    ] = None,
    modules: Import = None,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Publish one event, or a file of them.

    Prints the id under which it is stored. For example: busredis publish UserLoggedInEvent '{"username": "ada"}';
    busredis publish --jsonl events.jsonl, with lines such as {"event_type": "UserLoggedInEvent", "payload": {}}.
    """
    _check_use(event_type, json, jsonl, key)
    import_classes(modules)
    limit = Settings.load(url=url, namespace=namespace).max_event_bytes
    with ExitStack() as stack:
        if jsonl is None:
            assert event_type is not None
            assert json is not None
            event = parse(json.encode("utf-8", "surrogateescape"), "the JSON", limit, event_type)
            publisher = stack.enter_context(Publisher(url, namespace=namespace))
            typer.echo(publisher.publish(event, key=key))
            return
        publisher = stack.enter_context(Publisher(url, namespace=namespace))
        lines = stack.enter_context(_open(jsonl))
        total = Path(jsonl).stat().st_size if jsonl != "-" else None
        output = stack.enter_context(_open_rejects(rejects)) if rejects else None
        progress = stack.enter_context(_progress())
        bounded = bounded_lines(lines, longest_line(limit), output.write if output else len)
        _publish_lines(publisher, _counted(bounded, progress, total), limit, output)


def _check_use(event_type: str | None, json: str | None, jsonl: str | None, key: str | None) -> None:
    if jsonl is None and (event_type is None or json is None):
        raise SettingsError("name an event type and its JSON, or --jsonl FILE: busredis publish TYPE '{...}'")
    if jsonl is not None and event_type is not None:
        raise SettingsError("give either an event type and its JSON, or --jsonl FILE")
    if jsonl is not None and key is not None:
        raise SettingsError("--key is for a single event, not for --jsonl")
    check_key(key)


def check_key(key: str | None) -> None:
    """Raises SettingsError if a key cannot be shown."""
    if key is not None and not key.isprintable():
        raise SettingsError("--key: that is no text, or has control characters in it")


def _publish_lines(
    publisher: Publisher, lines: Iterable[bytes], limit: int, rejects: BinaryIO | None
) -> None:
    started, published, bad = time.monotonic(), 0, 0
    waiting: list[DomainEvent] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            waiting.append(parse(line, f"line {number}", limit))
        except BadLine:
            bad += 1
            if rejects is None:
                # What was good so far is not lost because of what follows it.
                published += len(publisher.publish_many(waiting))
                note(f"published {published:,} event(s) before the bad line")
                raise
            ends = line.endswith(b"\n") or is_cut(line, longest_line(limit))
            rejects.write(line if ends else line + b"\n")
        if len(waiting) >= _CHUNK:
            published += len(publisher.publish_many(waiting))
            waiting.clear()
    published += len(publisher.publish_many(waiting))
    rate = published / max(time.monotonic() - started, 1e-6)
    note(
        f"published {published:,} event(s), {rate:,.0f}/s"
        + (f"; {bad:,} bad line(s) rejected" if bad else "")
    )
    if bad:
        raise typer.Exit(1)


def parse(raw_json: bytes, place: str, limit: int, event_type: str | None = None) -> DomainEvent:
    """The event, or one of `event_type` with this payload; its JSON has at most `limit` bytes. Raises BadLine that names the place."""
    longest = longest_line(limit)
    if is_cut(raw_json, longest):
        raise BadLine(f"{place} is no event: it is longer than {longest:,} bytes")
    try:
        event = _event(orjson.loads(raw_json), event_type)
        if len(raw_json) > limit // _GROWTH:
            Codec(limit, Vault(MemoryKeys())).encode(event)  # here, where the place is known
    except UnknownEventType as error:
        advice = "name the module that has its class: --import shop.events"
        raise BadLine(f"{place}: {UnknownEventType(error.event_type, error.known, advice)}") from None
    except orjson.JSONDecodeError as error:
        advice = "" if event_type is None else """; in quotes for the shell: '{"username": "ada"}'"""
        raise BadLine(f"{place} is no event: {error}{advice}") from None
    except BusError as error:
        raise BadLine(f"{place} is no event: {error}") from None
    return event


def _event(data: Any, event_type: str | None) -> DomainEvent:
    if event_type is not None and isinstance(data, dict):
        data = data if "payload" in data else {"payload": data}
        found = data.get("event_type", event_type)
        if found != event_type:
            raise DecodeError("unknown-type", f"event_type is {str(found)[:80]!r}, not {event_type!r}")
        data = {**data, "event_type": event_type}
    event = DomainEvent.from_dict(data)
    _check_names(data, event)
    return event


def _check_names(data: dict[str, Any], event: DomainEvent) -> None:
    """Raises DecodeError if something of `data` is not in the event.

    A daemon reads past what it does not know; a publisher must not, for nobody would ever see it again.
    """
    if data.get("event_version", 1) < type(event).version:
        return  # what becomes of older fields is decided by upcasters
    known = {"an event": (data, {*event.metadata, "traceparent", "payload"})}
    known[event.metadata["event_type"]] = (data["payload"], {*event.payload})
    for what, (given, names) in known.items():
        if strange := sorted(set(given) - names):
            fields = ", ".join(sorted(names)) or "none"
            raise DecodeError("unknown-field", f"{what} has no field {strange[0][:80]!r}; it has {fields}")


def import_classes(modules: list[str] | None) -> None:
    """Imports these modules, or the catalog, so that their event classes are known. Raises SettingsError."""
    sys.path.insert(0, "")
    for name in modules or ["busredis.catalog"]:
        if not name or name.startswith("."):
            raise SettingsError(f"--import {name!r} names no module: write shop.events")
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise SettingsError(f"--import {name}: {error}{missing(name, error)}") from error


def _open(jsonl: str) -> BinaryIO:
    if jsonl == "-":
        return sys.stdin.buffer
    try:
        return Path(jsonl).open("rb")
    except OSError as error:
        raise SettingsError(f"--jsonl {jsonl}: {error.strerror}") from error


def _open_rejects(rejects: Path) -> BinaryIO:
    try:
        return rejects.open("ab")
    except OSError as error:
        raise SettingsError(f"--rejects {rejects}: {error.strerror}") from error


def _progress() -> Progress:
    columns = (TextColumn("publishing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _counted(lines: Iterable[bytes], progress: Progress, total: int | None) -> Iterator[bytes]:
    task, done = progress.add_task("", total=total), 0
    for number, line in enumerate(lines, 1):
        done += len(line)
        if number % 500 == 0:
            progress.update(task, completed=done)
        yield line
