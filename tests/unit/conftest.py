from collections.abc import Iterator

import pytest

import busredis.events
from busredis.events import Registry


@pytest.fixture
def registry(monkeypatch) -> Iterator[Registry]:
    """A registry of its own, so that the classes of a test end with it."""
    own = Registry()
    for cls in busredis.events.registry:
        own.add(cls)
    monkeypatch.setattr(busredis.events.event, "registry", own)
    return own
