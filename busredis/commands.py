"""Redis commands as values, and protocols made of them, written once for sync and async.

A `Flow` is a generator that yields what is to be sent and is given the reply: `Client.run` drives it with blocking
calls, `AsyncClient.run` with awaits. An error reply is thrown into the flow at its `yield`.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from busredis.errors import CommandRefused, ServerError
from busredis.lua import Source, load

Result = TypeVar("Result")
Step = TypeVar("Step")
#: What can stand in a command.
Arg = str | bytes | int | float


@dataclass(slots=True)  # not frozen: that doubles the time to make one, and one is made for each round trip
class Request:
    """Commands for one round trip. With `together` set errors are returned in their place, not raised."""

    commands: tuple[tuple[Arg, ...], ...]
    together: bool = False


Flow = Generator[Request, Any, Result]


@dataclass(frozen=True, slots=True)
class Command(Generic[Result]):
    """One command and what its raw reply means: `result = yield from command`."""

    args: tuple[Arg, ...]
    parse: Callable[[Any], Result]

    def __iter__(self) -> Flow[Result]:
        reply = yield Request((self.args,))
        return self.parse(reply)


def drive(steps: Generator[Step, Any, Result], perform: Callable[[Step], Any]) -> Result:
    """The result of a generator: what it yields is given to `perform`, and it is given the result, or the error."""
    try:
        step = next(steps)
        while True:
            try:
                result = perform(step)
            except Exception as error:  # noqa: BLE001 - the generator decides about it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        return cast("Result", stop.value)


async def drive_async(
    steps: Generator[Step, Any, Result], perform: Callable[[Step], Awaitable[Any]]
) -> Result:
    """As `drive`, with awaits."""
    try:
        step = next(steps)
        while True:
            try:
                result = await perform(step)
            except Exception as error:  # noqa: BLE001 - the generator decides about it
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        return cast("Result", stop.value)


def raw(*args: Arg) -> Command[Any]:
    """Any command, with its reply as it is."""
    return Command(args, lambda reply: reply)


def many(commands: Sequence[tuple[Arg, ...]]) -> Flow[list[Any]]:
    """Several commands in one round trip; an error reply stands in its place as an exception."""
    if not commands:
        return []
    replies: list[Any] = yield Request(tuple(commands), together=True)
    return replies


def all_of(commands: Sequence[tuple[Arg, ...]]) -> Flow[list[Any]]:
    """Several commands in one round trip; raises the first error among their replies."""
    replies = yield from many(commands)
    for reply in replies:
        if isinstance(reply, ServerError):
            raise reply
    return replies


def script(source: Source | str, keys: Sequence[str], args: Sequence[Arg]) -> Flow[Any]:
    """One script by its digest, in full once for a server that does not know it.

    See https://redis.io/docs/latest/commands/evalsha/.
    """
    if isinstance(source, str):
        source = load(source)
    tail = (len(keys), *keys, *args)
    try:
        return (yield Request((("EVALSHA", source.sha, *tail),)))
    except CommandRefused as error:
        if not str(error).startswith("NOSCRIPT"):
            raise
        return (yield Request((("EVAL", source.text, *tail),)))


def text(reply: bytes) -> str:
    # Any program can have made any key: one that is no UTF-8 is shown, and is none of ours.
    return reply.decode("utf-8", "backslashreplace")


def given_name(reply: bytes) -> str:
    """A name that any program may have given; `sent_name` makes the same bytes of it again."""
    return reply.decode("utf-8", "surrogateescape")


def sent_name(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def scan(pattern: str) -> Flow[list[str]]:
    """Every key that matches, sorted; some may have come or gone meanwhile."""
    found: set[str] = set()
    cursor: Arg = 0
    while True:
        cursor, keys = yield from raw("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        found.update(map(text, keys))
        if int(cursor) == 0:
            return sorted(found)


def pairs(reply: Sequence[Any]) -> dict[str, Any]:
    """A flat reply of names and values as a dict."""
    return {text(reply[i]): reply[i + 1] for i in range(0, len(reply), 2)}
