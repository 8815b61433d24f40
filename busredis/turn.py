"""One archive run at a time: a lease with a fencing token in Redis and, where the archive is a folder, a lock on it."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from busredis.client import Client
from busredis.cold.place import Place
from busredis.commands import Arg, raw, script
from busredis.errors import ArchiveError
from busredis.keys import Keys

#: How long an archive run may be silent before another may begin.
_LEASE_MS = 60_000
#: Tells this process from one with its number that died, as in a container that was started again.
_PROCESS = uuid.uuid4().hex[:12]


class Turn:
    """The turn of one archive run in one partition.

    Whoever is frozen, however long, is refused by renew() and note() once another run has begun. In a folder with locks
    another run does not begin at all while the process of this one is there.
    """

    def __init__(self, client: Client, keys: Keys, place: Place) -> None:
        self._client, self._place = client, place
        self._keys = [keys.lease("archive"), keys.archive]
        self._name = f"{socket.gethostname()} {os.getpid()} {_PROCESS}-{uuid.uuid4().hex[:6]}"
        self._token = ""

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Raises ArchiveError if it is the turn of another. One that died on this machine is not waited for."""
        with self._place.locked() as is_mine:
            if not is_mine:
                raise _taken(self._holder(), self._place)
            self._begin()
            try:
                yield
            finally:
                self._ask("end")

    def renew(self) -> None:
        """Raises ArchiveError if another run has begun since."""
        self._go_on("renew")

    def note(self, head: str) -> None:
        """Notes in Redis how the manifest ends. Raises ArchiveError, with nothing noted, if another run has begun."""
        self._go_on("note", head, self._place.url)

    def _begin(self) -> None:
        dead = ""
        for _ in range(2):
            token, *holder = self._ask("begin", dead)
            if token is not None:
                self._token = token.decode()
                return
            dead = holder[0].decode("utf-8", "surrogateescape")
            if _is_alive(dead):
                break
        raise _taken(dead, self._place)

    def _go_on(self, what: str, *args: Arg) -> None:
        token, *holder = self._ask(what, self._token, *args)
        if token is None:
            by = f", {_shown(name)}" if (name := holder[0].decode("utf-8", "replace")) else ""
            raise ArchiveError(
                f"{self._place.url}: this run was silent for so long that another has begun{by}; it stops here, nothing was "
                "lost: run it again"
            )

    def _ask(self, what: str, *args: Arg) -> list[bytes]:
        found: list[bytes] = self._client.run(
            script("archiving", self._keys, [what, self._name, _LEASE_MS, *args])
        )
        return found

    def _holder(self) -> str:
        found = self._client.run(raw("GET", self._keys[0]).__iter__())
        return found.decode("utf-8", "replace") if found else ""


def _taken(holder: str, place: Place) -> ArchiveError:
    who = _shown(holder) if holder else f"which has been silent and still holds the lock on {place.url}"
    return ArchiveError(f"another archive run is under way, {who}; nothing was lost, run it later")


def _shown(holder: str) -> str:
    host, pid, *_ = [*holder.split(" "), "?", "?"]
    return f"process {pid} on {host}"


def _is_alive(holder: str) -> bool:
    host, pid, process = [*holder.split(" "), "", ""][:3]
    if host != socket.gethostname() or not pid.isdigit():
        return True
    if int(pid) == os.getpid():
        return process.startswith(_PROCESS)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
