"""A projection for replays over several partitions: a sum, and one key for each account; and what is where."""

import json
import os

from busredis import Context, DomainEvent, Router

router = Router()
NAME = "part-ledger"
#: The mistake that a rebuild corrects.
FACTOR = int(os.environ.get("BUSREDIS_TEST_FACTOR", "1"))


class PartSettled(DomainEvent):
    cents: int = 0


@router.on(PartSettled, name=NAME, max_attempts=2, backoff=0.0, concurrency=4)
async def settle(event: PartSettled, ctx: Context) -> None:
    if event.cents == 13:
        raise ValueError("unlucky")
    ctx.effects.add("HINCRBY", ctx.view("sum"), "cents", event.cents * FACTOR)
    ctx.effects.add("HINCRBY", ctx.view("sum"), "replayed", int(ctx.replaying))
    ctx.effects.add("INCRBY", ctx.view(f"account:{event.aggregate_id}"), event.cents * FACTOR)


def sums(look, parts):
    """The sum of each partition, and how many of its payments were replayed, in all."""
    found = [look.hgetall(keys.view("sum")) for keys in parts]
    return [int(one.get(b"cents", 0)) for one in found], sum(int(one.get(b"replayed", 0)) for one in found)


def accounts(look, parts, suffix=""):
    return {
        keys.view_name(key.decode()): int(look.get(key))
        for keys in parts
        for key in look.scan_iter(keys.every_view(f"account:*{suffix}"))
        if b"@" not in key or suffix
    }


def ids(look, keys):
    return [entry_id.decode() for entry_id, _ in look.xrange(keys.stream("PartSettled"))]


def cents(look, keys):
    return [
        json.loads(fields[b"event"])["payload"]["cents"]
        for _, fields in look.xrange(keys.stream("PartSettled"))
    ]
