"""Domain events, the registry of their classes, and upcasters."""

from busredis.events.event import DomainEvent, Upcaster, registry
from busredis.events.ids import new_event_id
from busredis.events.personal import FORGOTTEN, Personal
from busredis.events.registry import Registry

__all__ = ["FORGOTTEN", "DomainEvent", "Personal", "Registry", "Upcaster", "new_event_id", "registry"]
