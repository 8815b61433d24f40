"""The daemon: consumers, reclaimers and a lease for each handler, started and drained together."""

from busredis.daemon.daemon import Daemon

__all__ = ["Daemon"]
