"""A daemon with ordered handlers, of its own process: python -m tests.acceptance.ordered_program URL NAMESPACE GROUP LEASE."""

import asyncio
import os
import sys
from datetime import timedelta

from busredis import Context, Daemon, DomainEvent, Router

router = Router()


class LedgerOpened(DomainEvent):
    number: int = 0
    deadly: bool = False


class LedgerMoved(DomainEvent):
    number: int = 0
    deadly: bool = False


class LedgerClosed(DomainEvent):
    number: int = 0
    deadly: bool = False


TYPES = (LedgerOpened, LedgerMoved, LedgerClosed)


def step(number: int, key: str, *, deadly: bool = False) -> DomainEvent:
    """The nth event of a key; its type changes from one to the next."""
    return TYPES[number % 3](number=number, deadly=deadly, aggregate_type="Ledger", aggregate_id=key)


def key_of(event: DomainEvent) -> str:
    assert event.aggregate_id is not None
    return event.aggregate_id


@router.on(*TYPES, name="kept", ordered=True, concurrency=20, max_attempts=100, backoff=0.05)
async def kept(event: DomainEvent, ctx: Context) -> None:
    if event.number % 10 == 0:
        await asyncio.sleep(0.001)
    ctx.effects.add("RPUSH", ctx.view(f"kept:{key_of(event)}"), f"{event.number} {ctx.fencing_token}")


@router.on(*TYPES, name="slow", ordered=True, concurrency=20, backoff=0.05)
async def slow(event: DomainEvent, ctx: Context) -> None:
    await asyncio.sleep(0.02)
    ctx.effects.add("RPUSH", ctx.view(f"slow:{key_of(event)}"), f"{event.number} {ctx.fencing_token}")


@router.on(*TYPES, name="killed", ordered=True, concurrency=5, max_attempts=3, backoff=0.05)
def killed(event: DomainEvent, ctx: Context) -> None:
    if event.deadly:
        os._exit(9)
    ctx.effects.add("RPUSH", ctx.view(f"killed:{key_of(event)}"), f"{event.number} {ctx.fencing_token}")


if __name__ == "__main__":
    Daemon(
        router,
        url=sys.argv[1],
        namespace=sys.argv[2],
        groups=[sys.argv[3]],
        lease=timedelta(seconds=float(sys.argv[4])),
        sweep=timedelta(seconds=0.2),
        block=timedelta(seconds=0.2),
    ).run()
