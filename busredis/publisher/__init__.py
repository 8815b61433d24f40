"""The publisher clients."""

from busredis.publisher.asynchronous import AsyncPublisher
from busredis.publisher.blocking import Publisher

__all__ = ["AsyncPublisher", "Publisher"]
