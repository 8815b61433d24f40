"""A publisher in a process of its own, that tells what it asked for and was told: python -m faults.publishing ORDER."""

import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from busredis import Publisher
from busredis.errors import PublishIndeterminate, PublishRefused
from faults.events import step
from faults.history import Recorder


@dataclass(frozen=True)
class Order:
    """The events `first` to `last - 1`, spread over some seconds, in appends of at most `batch` events."""

    url: str
    namespace: str
    folder: str
    name: str
    first: int
    last: int
    seconds: float
    seed: int
    batch: int = 500
    timeout_s: float = 10.0
    durability: str = "memory"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def publish(order: Order) -> None:
    chance, number, began = random.Random(order.seed), order.first, time.monotonic()
    recorder = Recorder(Path(order.folder) / f"publisher-{order.name}.log")
    options = {"durability": order.durability, "publish_timeout": timedelta(seconds=order.timeout_s)}
    with Publisher(order.url, namespace=order.namespace, batch_events=order.batch, **options) as publisher:
        while number < order.last:
            # Mostly batches, and now and then one event alone.
            size = 1 if chance.random() < 0.1 else chance.randint(order.batch // 4, order.batch)
            count = min(size, order.last - number)
            publish_some(publisher, recorder, number, count)
            number += count
            due = began + order.seconds * (number - order.first) / (order.last - order.first)
            time.sleep(max(0.0, due - time.monotonic()))


def publish_some(publisher: Publisher, recorder: Recorder, first: int, count: int) -> None:
    """One append, told before and after."""
    events = [step(number) for number in range(first, first + count)]
    recorder.write("invoke", first, count)
    try:
        ids = [publisher.publish(events[0])] if count == 1 else publisher.publish_many(events)
    except PublishRefused:
        recorder.write("fail")
        time.sleep(0.1)
    except PublishIndeterminate:
        recorder.write("unknown")
    else:
        recorder.write("ok", *ids)


if __name__ == "__main__":
    publish(Order(**json.loads(sys.argv[1])))
