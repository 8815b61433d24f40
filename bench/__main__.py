"""python -m bench [--write] [PART ...]: publish, consume, latency, store, peers ...

On a server of its own. With --write, docs/performance.md, .svg and .json are what this run has found.
"""

import sys
import tempfile
from pathlib import Path

from bench import (
    archive,
    consume,
    footprint,
    latency,
    layouts,
    peers_latency,
    peers_run,
    publish,
    report,
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


def main() -> None:
    arguments = sys.argv[1:]
    wanted = [name for name in arguments if name != "--write"] or list(PARTS)
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        print(f"{server.version}, Python {sys.version.split()[0]}\n")
        for name in wanted:
            PARTS[name](server.url)
        if "--write" in arguments:
            report.write(server.version)


main()
