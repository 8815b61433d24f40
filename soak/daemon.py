"""A daemon of the soak: python -m soak.daemon URL FOLDER."""

import sys
from datetime import timedelta
from pathlib import Path

from busredis import Context, Daemon, Router
from soak.events import Ledger, Soaked

router = Router()
_ledger = Ledger(Path(sys.argv[2]), "handled")


@router.on(Soaked, name="g1", backoff=0.05)
async def one(event: Soaked, ctx: Context) -> None:
    if event.number % 97 == 0 and ctx.attempt == 1:
        raise ConnectionError("a failure that another attempt mends")
    _ledger.write("g1", [event.number])


@router.on(Soaked, name="g2", concurrency=2)
def two(event: Soaked) -> None:
    _ledger.write("g2", [event.number])


Daemon(router, url=sys.argv[1], lease=timedelta(seconds=2), sweep=timedelta(seconds=0.2)).run()
