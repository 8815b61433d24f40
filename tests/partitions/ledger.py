"""A projection for replays over several partitions: a sum, and one key for each account."""

import os

from busredis import Context, DomainEvent, Router

router = Router()
#: The mistake that a rebuild corrects.
FACTOR = int(os.environ.get("BUSREDIS_TEST_FACTOR", "1"))


class PartSettled(DomainEvent):
    cents: int = 0


@router.on(PartSettled, name="part-ledger", max_attempts=2, backoff=0.0, concurrency=4)
async def settle(event: PartSettled, ctx: Context) -> None:
    if event.cents == 13:
        raise ValueError("unlucky")
    ctx.effects.add("HINCRBY", ctx.view("sum"), "cents", event.cents * FACTOR)
    ctx.effects.add("HINCRBY", ctx.view("sum"), "replayed", int(ctx.replaying))
    ctx.effects.add("INCRBY", ctx.view(f"account:{event.aggregate_id}"), event.cents * FACTOR)
