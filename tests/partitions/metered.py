"""An aggregate that is spread over partitions, and what is archived of it."""

from pydantic import BaseModel

from busredis import DomainEvent, EventSourcedAggregate, applies
from busredis.cold import Archives
from busredis.partitions import all_keys


class PartMetered(DomainEvent):
    kwh: int = 0


class PartMeterState(BaseModel):
    kwh: int = 0


class PartMeter(EventSourcedAggregate[PartMeterState]):
    @applies(PartMetered)
    def _metered(self, event):
        self.state.kwh += event.kwh


def archives(folder, namespace, count):
    return Archives(str(folder), namespace).all(all_keys(namespace, count))
