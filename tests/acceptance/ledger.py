"""A projection of a user, for tests of the command line."""

from busredis import Context, DomainEvent, Router

router = Router()


class LedgerPaid(DomainEvent):
    cents: int = 0


@router.on(LedgerPaid, name="ledger-total")
async def total(event: LedgerPaid, ctx: Context) -> None:
    ctx.effects.add("HINCRBY", ctx.view("ledger-total"), "cents", event.cents)
    ctx.effects.add("HINCRBY", ctx.view("ledger-total"), "replayed", int(ctx.replaying))
