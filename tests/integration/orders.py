"""Events of orders for ordered handlers, the daemons that run these, and what to look at afterwards."""

import json

from busredis import Context, Daemon, DomainEvent, Router
from tests.integration.conftest import FAST
from tests.integration.running import Running


class OrderPlaced(DomainEvent):
    order: str = ""
    number: int = 0


class OrderPaid(DomainEvent):
    order: str = ""
    number: int = 0


class OrderShipped(DomainEvent):
    order: str = ""
    number: int = 0


TYPES = (OrderPlaced, OrderPaid, OrderShipped)


def event(number: int, order: str, **more) -> DomainEvent:
    """The nth event of an order; its type changes from one to the next."""
    return TYPES[number % 3](order=order, number=number, aggregate_id=order, aggregate_type="Order", **more)


def running(url: str, namespace: str, router: Router, **options) -> Running:
    return Running(Daemon(router, url=url, namespace=namespace, **(FAST | options)))


def numbers(inspect, keys, group: str, order: str) -> list[int]:
    """What the effects of a handler have appended for one key."""
    return [int(number) for number in inspect.lrange(keys.view(f"{group}:{order}"), 0, -1)]


def pending(inspect, keys, group: str) -> int:
    return sum(inspect.xpending(keys.stream(cls.type_name), group)["pending"] for cls in TYPES)


def letters(inspect, keys, group: str) -> list[tuple[str, int]]:
    """Reason and number of each dead letter, in their order."""
    return [
        (fields[b"reason"].decode(), json.loads(fields[b"entry:event"])["payload"]["number"])
        for _, fields in inspect.xrange(keys.dead(group))
    ]


def appends(group: str):
    def handle(event, ctx: Context) -> None:
        ctx.effects.add("RPUSH", ctx.view(f"{group}:{event.order}"), event.number)

    return handle
