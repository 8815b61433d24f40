"""tail: the newest events, and those that come."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import orjson
import typer

from busredis.cli.options import Namespace, Url, connect, note
from busredis.client import Client
from busredis.commands import raw, scan, text
from busredis.keys import Keys


def tail(
    event_types: Annotated[list[str] | None, typer.Argument(help="Only these types; default all.")] = None,
    *,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of those that are there.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C.")
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Show the newest events, one JSON line each.

    They come in their order over all types.
    """
    client, partitions = connect(url, namespace)
    streams = [keys.stream(name) for keys in partitions for name in event_types or []] or [
        stream for keys in partitions for stream in client.run(scan(keys.every_stream))
    ]
    newest = []
    last: dict[str, Any] = {}
    for stream in streams:
        found = client.run(raw("XREVRANGE", stream, "+", "-", "COUNT", max(count, 1)).__iter__())
        last[stream] = found[0][0] if found else "0-0"
        newest += [(stream, *entry) for entry in found[:count]]
    if not newest:
        note(
            f"no entries{' of ' + ', '.join(event_types) if event_types else ' yet'}"
            + (", waiting" if follow else "")
        )
    newest.sort(key=lambda entry: tuple(map(int, entry[1].split(b"-"))))
    for stream, entry_id, fields in newest[-count:] if count else []:
        _print_entry(Keys.at(stream).event_type(stream), entry_id, fields)
    while follow:
        if not event_types:
            last |= {stream: "0-0" for stream in _begun(client, partitions) if stream not in last}
        for stream, entry_id, fields in _following(client, partitions, last):
            _print_entry(Keys.at(stream).event_type(stream), entry_id, fields)


def _begun(client: Client, partitions: Sequence[Keys]) -> list[str]:
    """The streams that appends have begun, of types that were not there before too."""
    return [
        keys.stream(text(name))
        for keys in partitions
        for name in client.run(raw("SMEMBERS", keys.types).__iter__())
    ]


def _following(
    client: Client, partitions: Sequence[Keys], last: dict[str, Any]
) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """What has come meanwhile, of one partition at a time; waits a second in all if nothing has."""
    block = max(1, 1_000 // len(partitions))
    for keys in partitions:
        own = {stream: entry_id for stream, entry_id in last.items() if Keys.at(stream) == keys}
        if not own:
            time.sleep(block / 1_000)
            continue
        command = ("XREAD", "COUNT", 100, "BLOCK", block, "STREAMS", *own, *own.values())
        for stream, entries in client.run(raw(*command).__iter__()) or []:
            for entry_id, fields in entries:
                last[stream.decode()] = entry_id
                yield stream.decode(), entry_id, fields


def _print_entry(event_type: str, entry_id: bytes, fields: list[bytes]) -> None:
    found = {
        fields[i].decode("utf-8", "replace"): fields[i + 1].decode("utf-8", "replace")
        for i in range(0, len(fields), 2)
    }
    typer.echo(orjson.dumps({"id": entry_id.decode(), "event_type": event_type, **found}).decode())
