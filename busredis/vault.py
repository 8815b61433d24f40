"""Encrypts personal fields with a key for each subject, and makes them unreadable when the key is gone."""

import base64
import os
import threading
import time
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol

import orjson

from busredis.errors import EncodeError, SettingsError
from busredis.events import DomainEvent

#: How a personal value stands in the JSON of an event: {"$personal": [key id, base64 of nonce and ciphertext]}.
MARK = "$personal"
_MARK_BYTES = b'"$personal"'
_NONCE = 12
#: Seconds for which a process remembers a key, or that there is none.
REMEMBER = 5.0


class KeyStore(Protocol):
    """Keeps a key for each subject. Both methods may be called from any thread, and block."""

    def key_for(self, subject: str) -> tuple[str, bytes]:
        """The id and the key (32 bytes) of a subject, made if there is none. The id must not tell who it is."""
        ...

    def key(self, key_id: str) -> bytes | None:
        """The key with this id; None once it was forgotten."""
        ...


class MemoryKeys:
    """Keys in a dict: for tests, and for the stores in memory."""

    def __init__(self) -> None:
        self.subjects: dict[str, str] = {}
        self.keys: dict[str, bytes] = {}

    def key_for(self, subject: str) -> tuple[str, bytes]:
        """The id and the key of a subject."""
        key_id = self.subjects.setdefault(subject, new_key()[0])
        return key_id, self.keys.setdefault(key_id, new_key()[1])

    def key(self, key_id: str) -> bytes | None:
        """The key with this id."""
        return self.keys.get(key_id)

    def forget(self, subject: str) -> None:
        """Deletes the key of a subject."""
        self.keys.pop(self.subjects.pop(subject, ""), None)


def new_key() -> tuple[str, bytes]:
    """An id, which tells nothing, and a key."""
    return os.urandom(9).hex(), os.urandom(32)


class Vault:
    """Seals and opens the personal fields of events.

    A key is remembered for `remember` seconds: so long at most it takes until every process has forgotten a subject.
    """

    def __init__(self, store: KeyStore, *, remember: float = REMEMBER) -> None:
        self._store, self._remember = store, remember
        self._known: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def seal(self, event: DomainEvent, raw: bytes) -> bytes:
        """The JSON of an event, with its personal fields encrypted. Raises EncodeError for one without a subject."""
        document = orjson.loads(raw)
        payload = document["payload"]
        for name, mark in type(event).personal.items():
            value = payload[name]
            if value is None or value == "":
                continue
            subject = payload.get(mark.subject) or document.get(mark.subject)
            if not isinstance(subject, str):
                raise EncodeError(
                    f"{event.event_type}.{name} is personal data of {mark.subject}, which is not given"
                )
            key_id, key = self._cached(
                f"subject {subject}", lambda subject=subject: self._store.key_for(subject)
            )
            nonce = os.urandom(_NONCE)
            sealed = nonce + _cipher(key).encrypt(nonce, orjson.dumps(value), event.event_type.encode())
            payload[name] = {MARK: [key_id, base64.b64encode(sealed).decode()]}
        return orjson.dumps(document)

    def open(self, cls: type[DomainEvent], raw: bytes) -> bytes:
        """The JSON of an event, with its personal fields as they were, or forgotten. What is no JSON stays as it is."""
        if _MARK_BYTES not in raw:
            return raw
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw
        payload = document.get("payload") if isinstance(document, dict) else None
        if not isinstance(payload, dict):
            return raw
        for name, value in payload.items():
            if isinstance(value, dict) and value.keys() == {MARK}:
                payload[name] = self._opened(cls, name, value[MARK])
        return orjson.dumps(document)

    def _opened(self, cls: type[DomainEvent], name: str, sealed: Any) -> Any:
        try:
            key_id, text = sealed
            key = self._cached(f"key {key_id}", lambda: self._store.key(key_id))
            if key is not None:
                raw = base64.b64decode(text)
                return orjson.loads(_cipher(key).decrypt(raw[:_NONCE], raw[_NONCE:], cls.type_name.encode()))
        except (ValueError, TypeError, _invalid_tag()):
            pass  # what was tampered with cannot be read either, and must not stop a handler
        return cls.forgotten.get(name)

    def _cached(self, name: str, find: Any) -> Any:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(name)
            if known is not None and known[0] > now:
                return known[1]
        found = find()
        with self._lock:
            if len(self._known) > 10_000:
                self._known = {name: known for name, known in self._known.items() if known[0] > now}
            if len(self._known) <= 100_000:
                self._known[name] = (now + self._remember, found)
        return found


def check_installed(classes: Iterable[type[DomainEvent]]) -> None:
    """Raises SettingsError that names the classes with personal fields, if what encrypts them is not installed."""
    personal = sorted({cls.type_name for cls in classes if cls.personal})
    if not personal:
        return
    try:
        _cipher(bytes(32))
    except SettingsError as error:
        raise SettingsError(f"{', '.join(personal)} cannot be read or published: {error}") from None


def _cipher(key: bytes) -> Any:
    return _module("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)


def _invalid_tag() -> type[Exception]:
    found: type[Exception] = _module("cryptography.exceptions").InvalidTag
    return found


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(f"personal data needs pip install 'busredis[privacy]' ({error})") from None
