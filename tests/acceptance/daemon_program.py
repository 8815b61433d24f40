"""A daemon of its own process for tests: python -m tests.acceptance.daemon_program URL NAMESPACE FOLDER."""

import os
import sys
import uuid
from datetime import timedelta
from pathlib import Path

from busredis import Context, Daemon, DomainEvent, Router

router = Router()
folder = Path(sys.argv[3]) if len(sys.argv) > 3 else Path()
_log = None


class Counted(DomainEvent):
    number: int = 0


class Killer(DomainEvent):
    number: int = 0
    deadly: bool = False


def write(group: str, number: int, attempt: int) -> None:
    # One file a process, appended before the handler returns: what is written was handled, whatever happens next.
    global _log
    if _log is None:
        _log = (folder / f"{uuid.uuid4().hex}.txt").open("ab", buffering=0)
    _log.write(f"{group} {number} {attempt}\n".encode())


@router.on(Counted, name="one", backoff=0.05)
async def one(event: Counted, ctx: Context) -> None:
    write("one", event.number, ctx.attempt)


@router.on(Counted, name="two", backoff=0.05, concurrency=2)
def two(event: Counted, ctx: Context) -> None:
    write("two", event.number, ctx.attempt)


@router.on(Killer, name="killed", max_attempts=3)
async def killed(event: Killer, ctx: Context) -> None:
    if event.deadly:
        os._exit(9)
    write("killed", event.number, ctx.attempt)


if __name__ == "__main__":
    Daemon(
        router,
        url=sys.argv[1],
        namespace=sys.argv[2],
        lease=timedelta(seconds=1),
        sweep=timedelta(seconds=0.2),
    ).run()
