"""What is said where the package that encrypts personal data is not installed."""

import sys
from typing import Annotated

import pytest

from busredis import Daemon, DomainEvent, Personal, Router
from busredis.errors import SettingsError


class PersonCounted(DomainEvent):
    username: str = ""
    email: Annotated[str, Personal("username")] = ""


def test_a_daemon_with_personal_events_does_not_start_without_what_opens_them(server, namespace, monkeypatch):
    router = Router()

    @router.on(PersonCounted, name="reads")
    async def reads(event: PersonCounted) -> None: ...

    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    with pytest.raises(SettingsError, match=r"PersonCounted cannot .* pip install 'busredis\[privacy\]'"):
        Daemon(router, url=server.url, namespace=namespace)


def test_a_publisher_refuses_a_personal_event_before_anything_is_sent(publisher, inspect, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    with pytest.raises(SettingsError, match=r"pip install 'busredis\[privacy\]'"):
        publisher.publish(PersonCounted(username="ada", email="a@example.org"))

    assert inspect.xlen(keys.stream("PersonCounted")) == 0
