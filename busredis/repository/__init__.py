"""Loading, saving and snapshotting aggregates."""

from busredis.repository.asynchronous import AsyncRepository
from busredis.repository.blocking import Repository

__all__ = ["AsyncRepository", "Repository"]
