"""What is told between the reply of a server and the moment at which it is looked at."""

import asyncio

import pytest

from busredis.daemon import tidings as module
from busredis.daemon.tidings import Tidings
from busredis.errors import CommandRefused, ConnectionLost, NotSent, ServerUnavailable


class Server:
    """A client, and the connection on which it is told: `meanwhile` is told with the replies."""

    def __init__(self, *meanwhile):
        self.is_open, self.sent, self._meanwhile = True, [], list(meanwhile)

    def node_of(self, _request):
        return ""

    async def listen(self, _node, told):
        self.told = told
        return self

    async def hang_up(self, _node, wire):
        wire.is_open = False

    async def exchange(self, request):
        self.sent.append([command[1] for command in request.commands])
        if self._meanwhile:
            self.told(self._meanwhile.pop(0))
        return [0] * len(request.commands)


async def ask(server, *keys):
    tidings, told = Tidings(server), []
    tidings.listen(keys, told.append)
    await tidings.ask(keys)
    return tidings, told


async def test_a_key_is_asked_for_once_until_it_is_told():
    server = Server()
    tidings, told = await ask(server, "a", "b")
    since = tidings.since(["a", "b"])
    await tidings.ask(["a"])
    assert tidings.since(["a", "b"]) == since
    assert sorted(server.sent[0]) == ["a", "b"]
    assert len(server.sent) == 1

    server.told([b"invalidate", [b"a"]])

    assert told == ["a"]
    assert tidings.since(["a", "b"]) is None
    await tidings.ask(["a", "b"])
    assert server.sent[1:] == [["a"]]
    assert tidings.since(["a", "b"]) > since
    await tidings.close()


@pytest.mark.parametrize(
    "push",
    [[b"invalidate", [b"a"]], [b"invalidate", None], None],
    ids=["the key has changed", "all was flushed", "the connection has ended"],
)
async def test_what_is_told_with_the_reply_is_not_overlooked(push):
    tidings, told = await ask(Server(push), "a")

    assert tidings.since(["a"]) is None
    assert told == ["a"]
    await tidings.close()


async def test_a_flush_and_the_end_of_the_connection_tell_of_all_keys():
    for push in ([b"invalidate", None], None):
        server = Server()
        tidings, told = await ask(server, "a", "b")
        server.told(push)
        assert sorted(told) == ["a", "b"]
        assert tidings.since(["a"]) is None
        await tidings.close()


@pytest.mark.parametrize("error", [CommandRefused("NOPERM no"), NotSent("nobody there")])
async def test_who_cannot_be_told_is_not_said_to_be(error):
    class Refusing(Server):
        async def listen(self, _node, _told):
            raise error

    tidings, told = await ask(Refusing(), "a")
    await asyncio.wait_for(tidings.ask(["a"]), 1)
    assert tidings.since(["a"]) is None
    assert told == []
    await tidings.close()


@pytest.mark.parametrize("reply", [None, CommandRefused("NOPERM no PING"), ServerUnavailable("LOADING")])
async def test_a_quiet_connection_that_answers_is_kept_and_one_that_does_not_is_told(monkeypatch, reply):
    monkeypatch.setattr(module, "_PING_S", 0.001)
    pings = asyncio.Semaphore(0)

    class Quiet(Server):
        is_broken = False

        async def exchange(self, request):
            if request.commands[0] != ("PING",):
                return await super().exchange(request)
            pings.release()
            if self.is_broken:
                raise ConnectionLost("no reply")
            if reply is not None:
                raise reply
            return b"PONG"

    server = Quiet()
    tidings, told = await ask(server, "a")
    for _ in range(3):
        await pings.acquire()
    assert tidings.since(["a"]) is not None

    server.is_broken = True
    while not told:
        await asyncio.sleep(0)

    assert tidings.since(["a"]) is None
    assert not server.is_open
    await tidings.close()


async def test_a_fault_of_our_own_is_raised():
    class Broken(Server):
        async def listen(self, _node, _told):
            raise ZeroDivisionError

    tidings = Tidings(Broken())
    await tidings.ask(["a"])
    with pytest.raises(ZeroDivisionError):
        await tidings.ask(["a"])
