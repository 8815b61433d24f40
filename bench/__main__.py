"""python -m bench [--write] [PART ...]: publish, consume, latency, store, peers ...

On a server of its own; backlog and scaling, which take minutes, only when they are named. With --write,
docs/performance.md, .svg and .json are what this run has found.
"""

import sys
import tempfile
from pathlib import Path

from bench import (
    archive,
    backlog,
    consume,
    footprint,
    latency,
    layouts,
    peers_latency,
    peers_run,
    publish,
    report,
    scaling,
    schedule,
    store,
)
from busredis.server import EmbeddedServer

PARTS = {
    "publish": publish.run,
    "consume": consume.run,
    "latency": latency.run,
    "footprint": footprint.run,
    "store": store.run,
    "schedule": schedule.run,
    "archive": archive.run,
    "peers": peers_run.run,
    "peers-latency": peers_latency.run,
    "layouts": layouts.run,
}
#: Those that take minutes.
LONG = {"backlog": backlog.run, "scaling": scaling.run}


def main() -> None:
    arguments = sys.argv[1:]
    wanted = [name for name in arguments if name != "--write"] or list(PARTS)
    parts = PARTS | LONG
    unknown = set(wanted) - set(parts)
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(parts)}")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        print(f"{server.version}, Python {sys.version.split()[0]}\n")
        for name in wanted:
            parts[name](server.url)
        if "--write" in arguments:
            report.write(server.version)


main()
