"""Archives in a child and kills it with SIGKILL after a random time; again and again, as told on standard input.

A line in: `namespace folder milliseconds`, 0 for no kill. A line out: `killed` or `done`. Everything is imported once, and the
child is a fork, so that what is killed is the run and not its beginning.
"""

import os
import signal
import sys
import time

import pyarrow.parquet  # noqa: F401 - imported before the forks

from busredis.archiver import Archiver
from busredis.client import Client
from busredis.cold import Archive
from busredis.keys import Keys


def archive(url: str, namespace: str, folder: str) -> None:
    Archiver(Client(url), Keys(namespace), Archive(folder, namespace), "99999999999999-0").run()


def main() -> None:
    url = sys.argv[1]
    for line in sys.stdin:
        namespace, folder, delay = line.split()
        child = os.fork()
        if child == 0:
            try:
                archive(url, namespace, folder)
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
