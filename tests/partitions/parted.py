"""Events and an aggregate that are spread over partitions, and what is where."""

from pydantic import BaseModel

from busredis import DomainEvent, EventSourcedAggregate, Router, applies


class PartPaid(DomainEvent):
    number: int = 0


class PartRefunded(DomainEvent):
    number: int = 0


class PartState(BaseModel):
    total: int = 0


class PartTally(EventSourcedAggregate[PartState]):
    @applies(PartPaid)
    def _paid(self, event):
        self.state.total += event.number


def entries(look, parts, event_type="PartPaid"):
    return {keys.partition: look.xrange(keys.stream(event_type)) for keys in parts}


def idle(*subjects):
    router = Router()
    router.on(*subjects, name="nothing")(nothing)
    return router


async def nothing(event):
    pass
