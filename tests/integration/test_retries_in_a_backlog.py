"""A retry that is due while there is more to read than fits in hand."""

from datetime import timedelta

import pytest

from busredis import Context, Daemon, DomainEvent, Publisher, Retry, Router

COUNT = 20_000
FAST = {"sweep": timedelta(seconds=0.02), "block": timedelta(seconds=0.1)}


class Queued(DomainEvent):
    number: int = 0


@pytest.mark.parametrize("prefetch", [1, 8, 512])
@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_retry_that_is_due_does_not_wait_for_the_end_of_the_backlog(
    server, namespace, inspect, keys, colour, prefetch
):
    router, seen, held = Router(), [], []

    def work(event: Queued, ctx: Context) -> None:
        if event.number == 0 and ctx.attempt == 1:
            raise ValueError
        if event.number % 500 == 0:
            rows = inspect.xpending(keys.stream("Queued"), "g")["consumers"]
            held.append(sum(row["pending"] for row in rows if not row["name"].startswith(b"waiting")))
        seen.append(event.number)

    async def work_async(event: Queued, ctx: Context) -> None:
        work(event, ctx)

    router.on(Queued, name="g", backoff=0.01)(work if colour == "sync" else work_async)
    count = COUNT if prefetch > 1 else COUNT // 4
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Queued(number=n) for n in range(count)])
    Daemon(router, url=server.url, namespace=namespace, burst=True, prefetch=prefetch, **FAST).run()

    assert sorted(seen) == list(range(count))
    assert seen.index(0) < count // 2
    assert max(held) <= prefetch


def test_what_is_new_does_not_wait_for_retries_that_never_end(server, namespace, inspect, keys):
    """Nor does one kind of work starve the other when only one entry is held at a time."""
    router, tries, seen = Router(), [], []

    @router.on(Queued, name="g")
    async def handle(event: Queued) -> None:
        if event.number < 5 and len(seen) < 50:
            tries.append(event.number)
            raise Retry(timedelta(), counts=False)
        seen.append(event.number)

    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([Queued(number=n) for n in range(55)])
    Daemon(router, url=server.url, namespace=namespace, burst=True, prefetch=1, **FAST).run()

    assert sorted(seen) == list(range(55))
    assert tries
