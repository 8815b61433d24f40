"""Archives in a child and kills it with SIGKILL after a random time; again and again, as told on standard input.

A line in: `namespace folder milliseconds partitions`, 0 ms for no kill. A line out: `killed` or `done`. Everything is imported once, and the
child is a fork, so that what is killed is the run and not its beginning.
"""

import os
import signal
import sys
import time

import pyarrow.parquet  # noqa: F401 - imported before the forks

from busredis.archiver import Archiver, archive_each
from busredis.client import Client
from busredis.cold import Archives
from busredis.partitions import all_keys


def archive(url: str, namespace: str, folder: str, count: int) -> None:
    client, partitions = Client(url), all_keys(namespace, count)
    cold = Archives(folder, namespace).all(partitions)
    archive_each(
        [Archiver(client, keys, one, "99999999999999-0") for keys, one in zip(partitions, cold, strict=True)]
    )


def main() -> None:
    url = sys.argv[1]
    for line in sys.stdin:
        namespace, folder, delay, count = line.split()
        child = os.fork()
        if child == 0:
            try:
                archive(url, namespace, folder, int(count))
            except BaseException as error:  # noqa: BLE001
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if float(delay):
            time.sleep(float(delay) / 1000)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"done {os.waitstatus_to_exitcode(status)}", flush=True)


main()
