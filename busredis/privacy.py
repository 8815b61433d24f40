"""The keys of personal data in Redis, and forgetting a subject."""

import threading
import weakref
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

from busredis.client import Client
from busredis.commands import Flow, many, raw, scan, script
from busredis.errors import ServerError, SettingsError
from busredis.keys import Keys
from busredis.location import server_url
from busredis.settings import Settings
from busredis.vault import KeyStore, Vault, new_key


class RedisKeys:
    """Keys in a hash of their own, on a connection of its own that is made when it is needed first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys(settings.namespace)
        self._client: Client | None = None
        self._lock = threading.Lock()

    def key_for(self, subject: str) -> tuple[str, bytes]:
        """The id and the key of a subject, made if there is none. Raises ServerError."""
        made = new_key()
        key_id, key = self._run(script("personal", [self._keys.personal], [subject, *made]))
        return key_id.decode(), key

    def key(self, key_id: str) -> bytes | None:
        """The key with this id; None once it was forgotten. Raises ServerError."""
        found: bytes | None = self._run(raw("HGET", self._keys.personal, f"key {key_id}").__iter__())
        return found

    def _run(self, flow: Flow[Any]) -> Any:
        with self._lock:
            if self._client is None:
                self._client = Client(server_url(self._settings), timeout=self._settings.publish_timeout)
                # Whoever encodes or decodes with these keys may be gone at any time, without a word.
                weakref.finalize(self, self._client.close)
        return self._client.run(flow)


def vault_of(settings: Settings) -> Vault:
    """The vault that these settings name: keys in Redis, or in a store of the user's. Raises SettingsError."""
    if settings.key_store is None:
        return Vault(RedisKeys(settings))
    module, _, name = settings.key_store.partition(":")
    try:
        return Vault(cast("KeyStore", getattr(import_module(module), name)))
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"key_store {settings.key_store!r} is no module:object: {error}") from None


def forget(partitions: Sequence[Keys], subject: str) -> Flow[bool]:
    """Deletes the key of a subject, and every snapshot, since a state may hold its data; whether there was a key.

    From then on no snapshot is written of an aggregate that was loaded before. Processes that know the key forget it within
    seconds: call it again after that to be rid of what they may have written.
    """
    personal = Keys(partitions[0].namespace).personal
    key_id = yield from raw("HGET", personal, f"subject {subject}")
    # First, so that a snapshot that is written meanwhile is refused or deleted below.
    for keys in partitions:
        yield from raw("HINCRBY", keys.personal, "erasures", 1)
    if key_id is not None:
        yield from raw("HDEL", personal, f"subject {subject}", f"key {key_id.decode()}")
    for keys in partitions:
        yield from _drop_snapshots(keys)
    return key_id is not None


def _drop_snapshots(keys: Keys) -> Flow[None]:
    snapshots = yield from scan(keys.every_snapshot())
    for start in range(0, len(snapshots), 500):
        for reply in (yield from many([("DEL", *snapshots[start : start + 500])])):
            if isinstance(reply, ServerError):
                raise reply
