"""One suite for every store: each is driven through the same blocking calls."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from busredis import AsyncEventStore, EventStore, InMemoryEventStore
from busredis.store import AsyncInMemoryEventStore
from busredis.store.blocking import BlockingStore

STORES = ["redis", "redis-async", "memory", "memory-async"]


class Blocking(BlockingStore):
    """An async store behind the blocking interface, each of whose public methods is the async store's own."""

    def __init__(self, make: Callable[[], AsyncEventStore]) -> None:
        self._runner = asyncio.Runner()
        self._store = self._runner.run(_made(make))
        self._settings = self._store._settings

    def perform(self, operation: Any) -> Any:
        return self._runner.run(self._store.perform(operation))

    def append(self, *args: Any, **options: Any) -> Any:
        return self._runner.run(self._store.append(*args, **options))

    def append_all(self, *args: Any, **options: Any) -> Any:
        return self._runner.run(self._store.append_all(*args, **options))

    def tracked(self, *args: Any) -> Any:
        return self._runner.run(self._store.tracked(*args))

    def version(self, *args: Any) -> Any:
        return self._runner.run(self._store.version(*args))

    def read(self, *args: Any, **options: Any) -> Iterator[Any]:
        return self._each(self._store.read(*args, **options))

    def feed(self, *args: Any, **options: Any) -> Iterator[Any]:
        return self._each(self._store.feed(*args, **options))

    def _each(self, found: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.run(anext(found))
            except StopAsyncIteration:
                return

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


async def _made(make: Callable[[], AsyncEventStore]) -> AsyncEventStore:
    return make()


def make_store(name: str, url: str, namespace: str, **options: Any) -> Any:
    if name == "redis":
        return EventStore(url, namespace=namespace, **options)
    if name == "redis-async":
        return Blocking(lambda: AsyncEventStore(url, namespace=namespace, **options))
    if name == "memory":
        return InMemoryEventStore(**options)
    return Blocking(lambda: AsyncInMemoryEventStore(InMemoryEventStore(**options)))
