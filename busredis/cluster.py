"""Redis Cluster: which node has a slot, and following it when it moves. Written once for sync and async.

A slot is known by CLUSTER SLOTS, which all servers have, and by the MOVED and ASK replies of nodes
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). Only masters are asked.
"""

import random
import time
from binascii import crc_hqx
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from busredis.commands import Arg, Flow, Request, drive, drive_async
from busredis.errors import CommandRefused, ConnectionLost, NotSent, ServerError, ServerUnavailable
from busredis.url import Servers


class _Runs(Protocol):
    """A client of one node, blocking or asyncio."""

    def run(self, flow: Flow[Any]) -> Any: ...
    def close(self) -> Any: ...


Node = TypeVar("Node", bound=_Runs)

SLOTS = 16_384
#: Most redirections of one request.
_HOPS = 5
#: Seconds for which a node that did not answer is not asked again, so that it does not hold up work for the others.
_REST = 0.5
#: Least seconds between two questions after all slots.
_BETWEEN = 0.1

_KEYLESS = frozenset(
    {"MULTI", "EXEC", "DISCARD", "WAIT", "WAITAOF", "PING", "TIME", "INFO", "CLUSTER", "CONFIG", "COMMAND"}
    | {"ACL", "CLIENT", "SCRIPT", "DBSIZE", "LASTSAVE", "ROLE"}
)
_SECOND = frozenset({"XINFO", "XGROUP", "MEMORY", "OBJECT"})
#: Who answers so may not be the master any more.
_CHANGED = ("CLUSTERDOWN", "MASTERDOWN", "READONLY", "LOADING")
#: What a script is told that touches a key which a migration has taken away; busredis' scripts write nothing before.
_NON_LOCAL = "non local key"

#: Yields a node and what to send it; is given the reply, or the error is thrown in.
Exchange = Generator[tuple[str, Request], Any, Any]


def slot_of(key: str | bytes) -> int:
    """The slot of a key: the CRC-16 (XMODEM) of its hash tag, or of all of it."""
    raw = key.encode() if isinstance(key, str) else key
    start = raw.find(b"{")
    end = raw.find(b"}", start + 1)
    tag = raw[start + 1 : end] if start >= 0 and end > start + 1 else raw
    return crc_hqx(tag, 0) % SLOTS


def key_of(command: Sequence[Arg]) -> str | bytes | None:
    """The first key of a command, if it has any."""
    name, at = str(command[0]).upper(), 1
    if name in _KEYLESS:
        return None
    if name in ("EVAL", "EVALSHA"):
        at = 3 if int(command[2]) else len(command)
    elif name in ("XREAD", "XREADGROUP"):
        at = command.index("STREAMS") + 1
    elif name == "SCAN":
        at = command.index("MATCH") + 1
    elif name in _SECOND:
        at = 2
    found = command[at] if at < len(command) else None
    return found if isinstance(found, str | bytes) else None


class Cluster:
    """What is known of a cluster: by slot its master, and which nodes did not answer just now."""

    def __init__(self, seeds: Sequence[str]) -> None:
        self._seeds = list(seeds)
        self._owners: list[str] = []
        self._is_stale = True
        self._looked_at = 0.0
        self._rests: dict[str, float] = {}

    def owner(self, request: Request) -> str:
        """The address of the node that a request goes to, "" while that is not known."""
        return self._owners[self._slot(request)] if self._owners else ""

    def masters(self) -> list[str]:
        """The addresses of all nodes that have slots, as far as they are known."""
        return sorted({address for address in self._owners if address})

    def exchange(self, request: Request) -> Exchange:
        """The reply to a request of one slot, or, if it is sent `together`, to commands each of one slot."""
        # Whoever comes while the first look is under way looks too: there is nothing yet to go by.
        if self._is_stale or not self._owners:
            yield from self._look()
        if request.together and all(key_of(command) is not None for command in request.commands):
            return (yield from self._together(request))
        return (yield from self._send(request))

    def _together(self, request: Request) -> Exchange:
        by_node: dict[str, list[int]] = {}
        for index, command in enumerate(request.commands):
            by_node.setdefault(self._owners[self._slot(Request((command,)))], []).append(index)
        replies: list[Any] = [None] * len(request.commands)
        for address, indexes in by_node.items():
            part = Request(tuple(request.commands[index] for index in indexes), together=True)
            try:
                found = yield from self._ask(address, part)
            except ServerError as error:
                if len(by_node) == 1:
                    raise
                found = [error] * len(indexes)
            for index, reply in zip(indexes, found, strict=True):
                replies[index] = reply
        for index, reply in enumerate(replies):
            if self._redirect(reply, "") is not None:
                try:
                    replies[index] = yield from self._send(Request((request.commands[index],)))
                except ServerError as error:
                    replies[index] = error
        return replies

    def _send(self, request: Request) -> Exchange:
        address, is_asking = self._owners[self._slot(request)], False
        for _ in range(_HOPS):
            sent = Request((("ASKING",), *request.commands), together=True) if is_asking else request
            try:
                reply = yield from self._ask(address, sent)
            except CommandRefused as error:
                reply = error
            if is_asking:
                reply = reply[1]
            redirect = self._redirect(reply, address)
            if redirect is None:
                if isinstance(reply, ServerError):
                    raise reply
                return reply
            kind, address = redirect
            is_asking = kind == "ASK"
            if is_asking and request.together:
                break  # ASKING is for the next command alone
        raise ServerUnavailable("TRYAGAIN the slot of these keys is being moved")

    def _ask(self, address: str, request: Request) -> Exchange:
        if not address:
            self._is_stale = True
            raise ServerUnavailable("CLUSTERDOWN no node serves the slot of these keys")
        if self._rests.get(address, 0.0) > time.monotonic():
            raise NotSent(f"{address} did not answer just now")
        try:
            reply = yield address, request
        except ConnectionLost:
            self._rests[address] = time.monotonic() + _REST
            self._is_stale = True
            raise
        except ServerError as error:
            raise self._noted(error) from error
        if not request.together:
            return reply
        return [self._noted(one) if isinstance(one, ServerError) else one for one in reply]

    def _noted(self, error: ServerError) -> ServerError:
        message = str(error)
        if message.startswith(_CHANGED):
            self._is_stale = True
        if isinstance(error, CommandRefused) and _NON_LOCAL in message:
            return ServerUnavailable(f"TRYAGAIN {message}")
        return error

    def _redirect(self, reply: Any, asked: str) -> tuple[str, str] | None:
        """Where a reply points to: MOVED or ASK, and the address; of several replies the first that does."""
        if isinstance(reply, list):
            return next((found for one in reply if (found := self._redirect(one, asked))), None)
        if not isinstance(reply, CommandRefused) or not str(reply).startswith(("MOVED ", "ASK ")):
            return None
        kind, slot, address = str(reply).split()[:3]
        if address.startswith(":"):
            address = f"{asked.rpartition(':')[0]}{address}"  # the node does not know how it is called itself
        if kind == "MOVED":
            self._owners[int(slot)] = address
            self._is_stale = True
        return kind, address

    def _slot(self, request: Request) -> int:
        for command in request.commands:
            key = key_of(command)
            if key is not None:
                return slot_of(key)
        return random.randrange(SLOTS)  # noqa: S311 - any node will do

    def _look(self) -> Exchange:
        """Asks any node who has which slot. Raises NotSent if none answers."""
        now = time.monotonic()
        if self._owners and now - self._looked_at < _BETWEEN:
            return None
        self._is_stale, self._looked_at = False, now
        known = [*{owner for owner in self._owners if owner}]
        random.shuffle(known)
        problem: ServerError | None = None
        for address in dict.fromkeys([*known, *self._seeds]):
            if self._rests.get(address, 0.0) > now and len(self._rests) < len(known):
                continue
            try:
                reply = yield address, Request((("CLUSTER", "SLOTS"),))
            except CommandRefused as error:
                self._is_stale = True
                raise CommandRefused(f"{address} is no node of a cluster, use redis://: {error}") from error
            except ServerError as error:
                self._rests[address] = time.monotonic() + _REST
                problem = error
                continue
            self._owners = _owners(reply, address)
            self._rests.pop(address, None)
            return None
        self._is_stale = True
        raise NotSent(f"no node of the cluster answers: {problem}") from problem


def _owners(reply: Sequence[Any], asked: str) -> list[str]:
    """By slot the address of its master, from CLUSTER SLOTS (https://redis.io/docs/latest/commands/cluster-slots/)."""
    owners = [""] * SLOTS
    for first, last, master, *_ in reply:
        host = (master[0] or b"").decode()
        if host in ("", "?"):
            host = asked.rpartition(":")[0].strip("[]")
        owners[first : last + 1] = [address_of(host, master[1])] * (last - first + 1)
    return owners


def address_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Nodes(Generic[Node]):
    """The nodes of a cluster, each with a client that is made when it is needed from the node's URL."""

    def __init__(self, servers: Servers, make: Callable[[str], Node]) -> None:
        self.cluster = Cluster(servers.addresses)
        self._servers, self._make = servers, make
        self._nodes: dict[str, Node] = {}

    def node(self, address: str) -> Node:
        """The client of one node, the same for all threads."""
        node = self._nodes.get(address)
        if node is None:
            # Of threads that come at once one wins; a client that was made in vain has no connection yet.
            node = self._nodes.setdefault(address, self._make(self._servers.url(address)))
        return node

    def _run(self, step: tuple[str, Request]) -> Any:
        address, request = step
        return self.node(address).run(_just(request))

    def exchange(self, request: Request) -> Any:
        """The reply, in blocking calls."""
        return drive(self.cluster.exchange(request), self._run)

    async def exchange_async(self, request: Request) -> Any:
        """The reply, with awaits."""
        return await drive_async(self.cluster.exchange(request), self._run)

    def close(self) -> None:
        for node in list(self._nodes.values()):
            node.close()

    async def close_async(self) -> None:
        for node in list(self._nodes.values()):
            await node.close()


def _just(request: Request) -> Flow[Any]:
    return (yield request)
