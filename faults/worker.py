"""A daemon in a process of its own, that tells what its handlers do: python -m faults.worker URL NAMESPACE FOLDER LEASE."""

import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from busredis import Context, Daemon, Router
from faults.events import BACKOFF_S, FAILING, MAX_ATTEMPTS, STEADY, Step, failures, has_effect, takes_time
from faults.history import Recorder

router = Router()
recorder: Recorder


class Failed(Exception):
    """This event fails in this attempt: that was agreed on."""


def work(event: Step, ctx: Context) -> None:
    """Handles one event and tells of it, before the daemon can acknowledge it."""
    facts = (ctx.group, event.number, ctx.entry_id, ctx.attempt)
    recorder.write("start", *facts)
    if takes_time(event.number):
        time.sleep(0.002)
    if ctx.attempt <= failures(ctx.group, event.number):
        recorder.write("failed", *facts)
        raise Failed
    if has_effect(event.number):
        ctx.effects.add("HINCRBY", ctx.view(f"counted:{ctx.group}"), str(event.number), 1)
    recorder.write("done", *facts)


@router.on(Step, name=STEADY, max_attempts=MAX_ATTEMPTS, backoff=BACKOFF_S)
async def steady(event: Step, ctx: Context) -> None:
    work(event, ctx)


@router.on(Step, name=FAILING, max_attempts=MAX_ATTEMPTS, backoff=BACKOFF_S, concurrency=2)
def failing(event: Step, ctx: Context) -> None:
    work(event, ctx)


def main(url: str, namespace: str, folder: str, lease: str) -> None:
    global recorder  # noqa: PLW0603 - handlers are module functions, and a process has one file
    recorder = Recorder(Path(folder) / f"worker-{os.getpid()}-{time.monotonic_ns()}.log")
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    # What failed on purpose would be most of the log, and the history has it.
    logging.getLogger("busredis.daemon").addFilter(lambda record: "Failed" not in record.getMessage())
    seconds = float(lease)
    Daemon(
        router,
        url=url,
        namespace=namespace,
        lease=timedelta(seconds=seconds),
        sweep=timedelta(seconds=min(0.2, seconds / 4)),
        block=timedelta(seconds=0.5),
        prefetch=128,
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
