"""A consumer that a test moves by hand: it reads an entry, and applies effects with its acknowledgement."""

from busredis import DomainEvent, Publisher
from busredis.client import Client
from busredis.delivery.effects import Effects
from busredis.delivery.model import Delivery, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.keys import Keys


class Entered(DomainEvent):
    cents: int = 0


class Hand:
    """One consumer of a group, by hand."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.keys, self.stream = keys, keys.stream("Entered")
        self.client = Client(url)
        self.pending = Pending(keys, "g", "me", [self.stream])
        self.calls = 0
        self.client.run(self.pending.ensure("0-0", restore=False))

    def deliver(self) -> Delivery:
        with Publisher(self.client.shown, namespace=self.keys.namespace) as publisher:
            publisher.publish(Entered())
        [[_, [[entry_id, fields]]]] = self.client.run(self.pending.read([self.stream], 1, None))
        return Delivery(self.stream, Entered, entry_id, fields, 1, "me", 0.0)

    def effects(self, *calls) -> Outcome:
        gathered = Effects(self.keys)
        for command, view, *args in calls:
            gathered.add(command, self.keys.view(view), *args)
        return Outcome(Verdict.ACK, effects=gathered.take())

    def apply(self, *ended, number=None) -> list[str]:
        self.calls += 1
        return self.client.run(self.pending.apply(number or self.calls, ended))
