"""Lanes that the consumers of one handler share, one consumer a partition: its concurrency is that of the handler."""

from collections.abc import Sequence

from busredis.delivery.lanes import Gate, Lanes, TaskLanes, ThreadLanes
from busredis.delivery.model import Delivery, Outcome
from busredis.delivery.process import Process
from busredis.delivery.settle import Settler


class Dispatch(Settler):
    """Hands the end of a delivery to the settler of its partition."""

    def __init__(self) -> None:
        self.settlers: dict[str, Settler] = {}

    def add(self, delivery: Delivery, outcome: Outcome) -> None:
        self.settlers[delivery.stream].add(delivery, outcome)

    def add_from_thread(self, delivery: Delivery, outcome: Outcome) -> None:
        self.settlers[delivery.stream].add_from_thread(delivery, outcome)


def lanes_of(process: Process, settler: Settler, gate: Gate, streams: Sequence[str]) -> Lanes:
    """Lanes for a consumer of these streams: its own, or those that the handler has for all partitions."""
    make: type[TaskLanes | ThreadLanes] = TaskLanes if process.handler.is_async else ThreadLanes
    if (
        gate.shared is None or process.handler.ordered
    ):  # whose owner is one a partition, and its lanes with it
        return make(process, settler, gate)
    found: tuple[Lanes, Dispatch] | None = gate.shared.get(process.handler.name)
    if found is None:
        dispatch = Dispatch()
        found = gate.shared[process.handler.name] = make(process, dispatch, gate), dispatch
    found[1].settlers.update(dict.fromkeys(streams, settler))
    return found[0]
