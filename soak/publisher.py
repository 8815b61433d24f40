"""A publisher of the soak: python -m soak.publisher URL FOLDER PART RATE. Ends at SIGTERM."""

import itertools
import signal
import sys
import threading
import time
from pathlib import Path

from busredis import Publisher, PublishIndeterminate, PublishRefused
from soak.events import Ledger, Soaked

BATCH = 10


def main() -> None:
    url, folder, part, rate = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ledger, due = Ledger(folder, "published"), time.monotonic()
    with Publisher(url, publish_timeout=20) as publisher:
        for start in itertools.count(part * 10**10, BATCH):
            numbers = list(range(start, start + BATCH))
            try:
                publisher.publish_many([Soaked(number=n, text="x" * 100) for n in numbers])
            except PublishIndeterminate:
                ledger.write("??", numbers)
            except PublishRefused:
                continue
            else:
                ledger.write("ok", numbers)
            due = max(due + BATCH / rate, time.monotonic() - 1)
            if stop.wait(max(0.0, due - time.monotonic())):
                return


main()
