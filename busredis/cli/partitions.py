"""partitions: how a namespace is spread over its partitions and the nodes of a cluster."""

import time
from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, print_json, print_table
from busredis.client import Client
from busredis.keys import Keys
from busredis.shares import Share, count_entries, event_types, read_shares, touch


def partitions(
    *,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long to look for the rates.")] = 1.0,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Show each partition: its size, events a second, hash slot and the node that has it."""
    client, found = connect(url, namespace)
    shares = client.run(read_shares(found))
    before, began = _added(client, found), time.monotonic()
    time.sleep(seconds)
    after, took = _added(client, found), time.monotonic() - began
    for share, keys, first, last in zip(shares, found, before, after, strict=True):
        share.rate = round((last - first) / took, 1)
        share.owner = client.node_of(touch(keys))
    if json:
        print_json(shares)
        return
    columns = ["partition", "entries", "bytes", "events/s", "groups", "dead", "slot", "node"]
    print_table(f"{len(shares)} partition(s)", columns, [_row(share) for share in shares])


def _added(client: Client, found: list[Keys]) -> list[int]:
    return [client.run(count_entries(keys, client.run(event_types(keys)))) for keys in found]


def _row(share: Share) -> list[object]:
    place = [share.slot, share.owner or "-"]
    return [share.partition, share.entries, share.bytes, share.rate, share.groups, share.dead, *place]
