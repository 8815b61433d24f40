"""A handler that says where it runs and waits until it is released, for tests that stop daemons meanwhile."""

import os

from busredis import Context, DomainEvent, Router

router = Router()


class SlowSold(DomainEvent):
    number: int = 0


@router.on(SlowSold, name="slow-till")
async def slow_till(event: SlowSold, ctx: Context) -> None:
    await ctx.execute("RPUSH", ctx.view("started"), f"{os.getpid()} {event.number}")
    await ctx.execute("BLPOP", ctx.view("release"), 30)
    await ctx.execute("RPUSH", ctx.view("finished"), f"{os.getpid()} {event.number}")
