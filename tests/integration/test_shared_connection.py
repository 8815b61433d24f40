"""A handler's commands run on the connections that settle: none of them may change what comes after it."""

import pytest

from busredis import Context, Daemon, DomainEvent, Router
from tests.integration.conftest import FAST


class Reckless(DomainEvent):
    number: int = 0


STATEFUL = [
    ("SELECT", 1),
    ("select", "1"),
    (b"Subscribe", "x"),
    ("WATCH", "x"),
    ("MULTI",),
    ("CLIENT", "REPLY", "OFF"),
    (b"client", b"reply", b"skip"),
    ("CLIENT", "TRACKING", "ON"),
    ("MONITOR",),
    ("RESET",),
    ("HELLO", "3"),
    ("QUIT",),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("together", [False, True])
def test_commands_that_change_the_state_of_the_connection_are_refused(
    server, namespace, publisher, inspect, keys, together
):
    router, refused, told = Router(), [], []

    @router.on(Reckless, name="reckless")
    async def handle(event: Reckless, ctx: Context) -> None:
        for command in STATEFUL:
            with pytest.raises(
                ValueError, match=r"changes the state of a connection, .* a client of your own"
            ):
                await (ctx.execute_many([command]) if together else ctx.execute(*command))
            refused.append(command)
        told.append(await ctx.execute("CLIENT", "ID"))

    publisher.publish(Reckless())
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    assert refused == STATEFUL
    assert len(told) == 1
    assert inspect.xpending(keys.stream("Reckless"), "reckless")["pending"] == 0
    assert inspect.xlen(keys.dead("reckless")) == 0
