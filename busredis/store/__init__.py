"""The event store: histories of aggregates, and all events of a partition in one order."""

from busredis.store.asynchronous import AsyncEventStore
from busredis.store.blocking import EventStore
from busredis.store.feed import BEGINNING
from busredis.store.memory import AsyncInMemoryEventStore, InMemoryEventStore
from busredis.store.model import ANY, NEW, AggregateId, Appended, Commit, StoredEvent, Tracking

__all__ = [
    "ANY",
    "BEGINNING",
    "NEW",
    "AggregateId",
    "Appended",
    "AsyncEventStore",
    "AsyncInMemoryEventStore",
    "Commit",
    "EventStore",
    "InMemoryEventStore",
    "StoredEvent",
    "Tracking",
]
