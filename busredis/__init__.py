"""A lightweight message bus on Redis Streams: typed events, handler daemons, retries and dead letters."""

import logging

from busredis.backoff import Backoff
from busredis.daemon import Daemon
from busredis.delivery.context import Context
from busredis.errors import BusError, PublishIndeterminate, PublishRefused, Reject, Retry, Skip
from busredis.events import DomainEvent
from busredis.memory import InMemoryEventBus
from busredis.publisher import AsyncPublisher, Publisher
from busredis.router import Router
from busredis.settings import Settings

__all__ = [
    "AsyncPublisher",
    "Backoff",
    "BusError",
    "Context",
    "Daemon",
    "DomainEvent",
    "InMemoryEventBus",
    "PublishIndeterminate",
    "PublishRefused",
    "Publisher",
    "Reject",
    "Retry",
    "Router",
    "Settings",
    "Skip",
]

logging.getLogger("busredis").addHandler(logging.NullHandler())
