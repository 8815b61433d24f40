"""Programs that publish and handle while servers fail: `python -m tests.partitions.load publish|handle ...`.

Each writes a line for what it did: `<monotonic time> <aggregate> <number>`.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from busredis import Daemon, DomainEvent, Publisher, Router
from busredis.errors import PublishError

AGGREGATES = 8
ROUND = 24


class Loaded(DomainEvent):
    number: int = 0


router = Router()


def publish(url: str, namespace: str, output: str, stop: str, who: str) -> None:
    """Publishes until the file `stop` is there; notes what was confirmed, event by event."""
    number = 0
    with (
        Path(output).open("a", buffering=1) as file,
        Publisher(url, namespace=namespace, durability="replica", publish_timeout=4.0) as publisher,
    ):
        while not Path(stop).exists():
            numbers = range(number, number + ROUND)
            events = [Loaded(number=n, aggregate_id=f"{who}-{n % AGGREGATES}") for n in numbers]
            number += ROUND
            try:
                confirmed = publisher.publish_many(events)
            except PublishError as error:
                confirmed = error.confirmed or [""] * ROUND
            now = time.monotonic()
            for event, entry_id in zip(events, confirmed, strict=False):
                if entry_id:
                    file.write(f"{now} {event.aggregate_id} {event.number}\n")


def handle(url: str, namespace: str, output: str) -> None:
    """Handles until SIGTERM; notes what was handled before it is acknowledged."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @router.on(Loaded, name="load", max_attempts=50, backoff=0.05)
    async def note(event):
        os.write(descriptor, f"{time.monotonic()} {event.aggregate_id} {event.number}\n".encode())

    seconds = timedelta(seconds=1)
    Daemon(router, url=url, namespace=namespace, lease=5 * seconds, sweep=0.3 * seconds).run()


if __name__ == "__main__":
    {"publish": publish, "handle": handle}[sys.argv[1]](*sys.argv[2:])
