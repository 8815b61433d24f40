"""A lightweight message bus on Redis Streams: typed events, handler daemons, retries, dead letters, aggregates."""

import logging

from busredis.aggregate import EventSourcedAggregate, SnapshotPolicy, applies
from busredis.backoff import Backoff
from busredis.daemon import Daemon
from busredis.delivery.context import Context
from busredis.errors import (
    AggregateNotFound,
    BusError,
    PublishIndeterminate,
    PublishRefused,
    Reject,
    Retry,
    Skip,
    VersionConflict,
)
from busredis.events import DomainEvent, Personal
from busredis.memory import InMemoryEventBus
from busredis.publisher import AsyncPublisher, Publisher
from busredis.repository import AsyncRepository, Repository
from busredis.retention import Retention
from busredis.router import Router
from busredis.schedule import Scheduled
from busredis.settings import Settings
from busredis.store import (
    AggregateId,
    AsyncEventStore,
    Commit,
    EventStore,
    InMemoryEventStore,
    StoredEvent,
)

__all__ = [
    "AggregateId",
    "AggregateNotFound",
    "AsyncEventStore",
    "AsyncPublisher",
    "AsyncRepository",
    "Backoff",
    "BusError",
    "Commit",
    "Context",
    "Daemon",
    "DomainEvent",
    "EventSourcedAggregate",
    "EventStore",
    "InMemoryEventBus",
    "InMemoryEventStore",
    "Personal",
    "PublishIndeterminate",
    "PublishRefused",
    "Publisher",
    "Reject",
    "Repository",
    "Retention",
    "Retry",
    "Router",
    "Scheduled",
    "Settings",
    "Skip",
    "SnapshotPolicy",
    "StoredEvent",
    "VersionConflict",
    "applies",
]

logging.getLogger("busredis").addHandler(logging.NullHandler())
