"""The floor: hiredis on a bare asyncio.Protocol. No reconnects, no retries, no errors: what no bus can go below."""

import asyncio
from collections import deque
from typing import Any

import hiredis

from busredis import DomainEvent


class Floor(asyncio.Protocol):
    """What is called in one turn of the loop leaves in one write."""

    def __init__(self) -> None:
        self._reader, self._waiting = hiredis.Reader(), deque()
        self._out: list[bytes] = []

    @classmethod
    async def connect(cls, port: int) -> "Floor":
        _, protocol = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return protocol

    def connection_made(self, transport: Any) -> None:
        self.transport, self._loop = transport, asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(reply)

    def call(self, *args: bytes | str | int) -> "asyncio.Future[Any]":
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(args))
        future = self._loop.create_future()
        self._waiting.append(future)
        return future

    def _flush(self) -> None:
        self.transport.write(b"".join(self._out))
        self._out.clear()


async def consume(
    port: int, stream: str, group: str, cls: type[DomainEvent], handler: Any, count: int
) -> None:
    """Reads ahead on one connection, awaits the handler in place, acknowledges a batch with one XACK on another."""
    reading, acking = await Floor.connect(port), await Floor.connect(port)
    request = ("XREADGROUP", "GROUP", group, "c", "COUNT", 512, "BLOCK", 1000, "STREAMS", stream, ">")
    following, seen, acknowledged = reading.call(*request), 0, None
    while seen < count:
        found = await following
        if not found:
            following = reading.call(*request)
            continue
        entries = found[0][1]
        seen += len(entries)
        if seen < count:
            following = reading.call(*request)
        for _, fields in entries:
            await handler(cls.from_json(fields[1]))
        acknowledged = acking.call("XACK", stream, group, *[entry_id for entry_id, _ in entries])
    if acknowledged is not None:
        await acknowledged
    reading.transport.close()
    acking.transport.close()
