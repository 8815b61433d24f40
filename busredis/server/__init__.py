"""The embedded server: a real server of the project's own, with its data in a folder."""

from busredis.server.binary import ServerNotFound, find_binary
from busredis.server.embedded import EmbeddedServer, ServerFailed

__all__ = ["EmbeddedServer", "ServerFailed", "ServerNotFound", "find_binary"]
