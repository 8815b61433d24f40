"""Who owns the ordered handling of a group: one daemon at a time, with a token that rises, balanced over daemons."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from busredis.commands import Arg, Flow, many, raw, script
from busredis.errors import CommandRefused, ServerError
from busredis.keys import Keys
from busredis.lua import load


class Share:
    """How many groups one daemon owns, for the balance with others."""

    def __init__(self) -> None:
        self.ownerships: list[Ownership] = []
        self.given_up_at = 0.0

    def owned(self) -> int:
        return sum(ownership.token is not None for ownership in self.ownerships)


class Wanted(NamedTuple):
    """An attempt to become the owner; without it, how long it is another's at most, and after which id to be woken."""

    is_owner: bool
    wait: float = 0.0
    last: bytes = b"0-0"


class Renewal(NamedTuple):
    """A call that keeps a lease, and what it was when it was made."""

    ownership: "Ownership"
    keys: list[str]
    args: list[Arg]
    token: int
    asked_at: float


class Ownership:
    """The lease of one daemon on one group in one partition.

    `token` rises with every owner; None while this daemon is not the owner. Renewed from the lease thread.
    """

    def __init__(self, keys: Keys, group: str, name: str, lease: timedelta, share: Share) -> None:
        self.group, self.name = group, name
        self.token: int | None = None
        #: Who stands by and owns fewer groups: it is to be handed over.
        self.successor = ""
        #: Called, from any thread, when the ownership is lost or to be handed over.
        self.changed: Callable[[], None] = lambda: None
        self._keys = [keys.owner(group), keys.free(group)]
        self._lease = lease.total_seconds()
        self._valid_until = 0.0
        self._share = share
        share.ownerships.append(self)

    def is_valid(self) -> bool:
        """Whether nobody else can be the owner yet, by the clock of this machine, which goes on while a process is frozen."""
        return self.token is not None and time.monotonic() < self._valid_until

    def take(self) -> Flow[Wanted]:
        """Becomes the owner if there is none, or its lease has ended."""
        asked_at = time.monotonic()
        reply = yield from script("own", self._keys, self._args("take"))
        if reply[0] is None:
            return Wanted(False, reply[1] / 1000, reply[2])
        self.successor = ""
        self._valid_until = asked_at + self._lease
        self.token = int(reply[0])
        return Wanted(True)

    def renewal(self) -> Renewal | None:
        """What keeps the lease, if it is there."""
        if self.token is None:
            return None
        return Renewal(self, self._keys, [*self._args("renew"), self.token], self.token, time.monotonic())

    def renew(self) -> Flow[None]:
        """Keeps the lease, if it is there."""
        return renew_all([self])

    def renewed(self, token: int, asked_at: float, reply: list[Any]) -> None:
        """Notes whether the lease is lost, and whether another daemon should have it."""
        if self.token != token:
            return
        if reply[0] is None:
            self.lose()
            return
        self._valid_until = asked_at + self._lease
        self._balance({name.decode(): owns for name, owns in zip(reply[1::2], reply[2::2], strict=True)})

    def _balance(self, others: dict[str, int]) -> None:
        now = time.monotonic()
        # One at a time, since what others own is known as of their last call.
        if not others or self.successor or now - self._share.given_up_at < self._lease / 2:
            return
        name = min(others, key=lambda other: (others[other], other))
        if self._share.owned() >= others[name] + 2:
            self._share.given_up_at = now
            self.successor = name
            self.changed()

    def lose(self) -> None:
        """Another daemon is the owner, or nobody knows of this one."""
        self.token = None
        self.changed()

    def release(self) -> Flow[None]:
        """Gives the lease up, for its successor if there is one; those who stand by are woken."""
        token, self.token = self.token, None
        if token is not None:
            yield from script("own", self._keys, [*self._args("release"), token, self.successor])

    def leave(self) -> Flow[None]:
        """Stands by no longer."""
        yield from script("own", self._keys, self._args("leave"))

    def given_up(self, wanted: Wanted, seconds: float) -> Flow[None]:
        """Waits until the lease is given up, at most so long; blocks its connection."""
        yield from raw("XREAD", "BLOCK", max(1, int(seconds * 1000)), "STREAMS", self._keys[1], wanted.last)

    def _args(self, what: str) -> list[Arg]:
        return [what, self.name, int(self._lease * 1000), self._share.owned()]


def renew_all(ownerships: Iterable[Ownership]) -> Flow[None]:
    """Keeps the leases of those that are owned, in one round trip to each node; raises an error once all were asked."""
    calls = [call for one in ownerships if (call := one.renewal()) is not None]
    sha, problem = load("own").sha, None
    replies = yield from many([("EVALSHA", sha, len(one.keys), *one.keys, *one.args) for one in calls])
    for call, found in zip(calls, replies, strict=True):
        reply = found
        if isinstance(found, CommandRefused) and str(found).startswith("NOSCRIPT"):
            reply = yield from script("own", call.keys, call.args)
        if isinstance(reply, ServerError):
            problem = reply
        else:
            call.ownership.renewed(call.token, call.asked_at, reply)
    if problem is not None:
        raise problem
