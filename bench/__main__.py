"""python -m bench [publish|consume|layouts|store|schedule|archive ...]: in interleaved rounds on a server of its own."""

import sys
import tempfile
from pathlib import Path

from bench import archive, consume, layouts, publish, schedule, store
from busredis.server import EmbeddedServer

PARTS = {
    "publish": publish.run,
    "consume": consume.run,
    "layouts": layouts.run,
    "store": store.run,
    "schedule": schedule.run,
    "archive": archive.run,
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        print(f"{server.version}, Python {sys.version.split()[0]}\n")
        for name in wanted:
            PARTS[name](server.url)


main()
