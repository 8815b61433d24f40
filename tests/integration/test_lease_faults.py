"""A fault of the thread that renews leases: it is noticed, the process ends with it, and nothing is lost."""

import asyncio
import logging
from datetime import timedelta

import pytest

from busredis import Daemon, DomainEvent, Router
from busredis.daemon.lease import Lease
from busredis.daemon.shadow import Shadow
from busredis.delivery.pending import Pending
from busredis.settings import Settings
from tests.integration.conftest import BRIEF


class Fragile(DomainEvent):
    number: int = 0


@pytest.fixture
def router():
    made = Router()

    @made.on(Fragile, name="fragile")
    async def handle(event: Fragile) -> None:
        await asyncio.sleep(600 if event.number == 1 else 1.5)

    return made


@pytest.fixture
def broken(monkeypatch):
    """The renewal fails as no server makes it fail."""

    def renew(*_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(Pending, "renew", renew)
    monkeypatch.setattr(Pending, "renew_own", renew)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["renewal", "blocked loop"])
def test_a_daemon_whose_lease_thread_fails_ends_with_the_fault_and_hands_back(  # noqa: PLR0917
    server, namespace, publisher, inspect, keys, router, broken, monkeypatch, caplog, place
):
    if place == "blocked loop":
        monkeypatch.undo()

        def fail(*_: object) -> bool:
            raise RuntimeError("injected")

        monkeypatch.setattr(Lease, "_round", fail)
    publisher.publish(Fragile(number=1))
    daemon = Daemon(router, url=server.url, namespace=namespace, grace=timedelta(seconds=0.2), **BRIEF)

    with caplog.at_level(logging.ERROR, "busredis.daemon"), pytest.raises(RuntimeError, match="injected"):
        daemon.run()

    [record] = [r for r in caplog.records if "lease cannot be renewed" in r.message]
    assert record.exc_info
    [left] = inspect.xpending_range(keys.stream("Fragile"), "fragile", "-", "+", 10)
    assert left["consumer"].startswith(b"waiting")


@pytest.mark.timeout(60)
def test_a_shadow_whose_lease_thread_fails_ends_with_the_fault(server, namespace, publisher, router, broken):
    publisher.publish(Fragile(number=2))
    settings = Settings.load(url=server.url, namespace=namespace, **BRIEF)
    shadow = Shadow(next(iter(router)), "shade", ("0-1", "99999999999999-0"), settings)

    with pytest.raises(RuntimeError, match="injected"):
        asyncio.run(shadow.run())
