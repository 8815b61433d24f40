"""Puts together what one handler needs in a daemon, or in a shadow."""

from dataclasses import dataclass

from busredis.codec import Codec
from busredis.daemon.consumer import Consumer
from busredis.daemon.ordered import OrderedConsumer, OrderedProcess, OrderedReclaimer
from busredis.daemon.ownership import Ownership, Share
from busredis.daemon.reclaimer import Reclaimer
from busredis.delivery.context import Tools
from busredis.delivery.lanes import Gate
from busredis.delivery.ordered_pending import OrderedPending
from busredis.delivery.pending import Pending
from busredis.delivery.process import Process
from busredis.privacy import vault_of
from busredis.router import Handler
from busredis.settings import Settings


@dataclass(frozen=True)
class Assembly:
    """What the consumers of one process share."""

    name: str
    settings: Settings
    tools: Tools
    gate: Gate
    share: Share

    def consumer_of(self, handler: Handler, *, is_shadow: bool = False) -> Consumer:
        """The consumer of a handler, ordered or not."""
        keys, client, settings = self.tools.keys, self.tools.client, self.settings
        streams = [keys.stream(cls.type_name) for cls in handler.event_classes()]
        codec = Codec(settings.max_event_bytes, vault_of(settings))
        if not handler.ordered:
            pending = Pending(keys, handler.name, self.name, streams, is_shadow)
            return Consumer(pending, Process(handler, codec, self.tools), client, self.gate, settings)
        owned = OrderedPending(keys, handler.name, self.name, streams, is_shadow)
        process = OrderedProcess(handler, codec, self.tools)
        ownership = Ownership(keys, handler.name, self.name, settings.lease, self.share)
        return OrderedConsumer(owned, process, client, self.gate, settings, ownership)


def reclaimer_of(consumer: Consumer, gate: Gate, settings: Settings) -> Reclaimer:
    """The sweeps that belong to a consumer."""
    if isinstance(consumer, OrderedConsumer):
        return OrderedReclaimer(consumer, gate, settings)
    return Reclaimer(consumer, gate, settings)
