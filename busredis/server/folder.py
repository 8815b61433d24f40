"""The folder of an embedded server: its lock, its state and its log.

`server.lock` is held by the server itself for as long as it lives: it inherits the open file, and the kernel lets go
when it dies, however it dies. `server.json` says where to find it. `server.log` is its log, `server.pid` its own note.
"""

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any


class ServerFolder:
    """Reads and writes the files beside the data; starts nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".gitignore").write_text("*\n")

    def take_lock(self) -> int | None:
        """The locked file, which the caller closes or hands to a server; None while someone else holds it."""
        lock = os.open(self.path / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def is_locked(self) -> bool:
        """Whether a server lives here, or is being started just now."""
        if not self.path.exists():
            return False
        lock = self.take_lock()
        if lock is None:
            return True
        os.close(lock)
        return False

    def state(self) -> dict[str, Any]:
        """What `server.json` says; empty if it is missing or unreadable."""
        try:
            state = json.loads((self.path / "server.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write_state(self, **state: Any) -> None:
        new = self.path / f"server.json.{os.getpid()}.{threading.get_ident()}"
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.path / "server.json")

    def port(self) -> int | None:
        port = self.state().get("port")
        return port if isinstance(port, int) and 0 < port < 65_536 else None

    def pid(self) -> str:
        """The process id that the server noted itself, for people to read."""
        try:
            return (self.path / "server.pid").read_text().strip()
        except OSError:
            return "unknown"

    def log_size(self) -> int:
        log = self.path / "server.log"
        return log.stat().st_size if log.exists() else 0

    def log(self, start: int = 0) -> str:
        try:
            return (self.path / "server.log").read_bytes()[start:].decode(errors="replace")
        except OSError:
            return ""
