"""Entries for the codec, well and badly formed, and what becomes of one."""

import orjson
import pytest

from busredis.catalog import UserLoggedInEvent
from busredis.codec import Codec
from busredis.errors import DecodeError

CODEC = Codec(max_bytes=1_000_000)
ENTRY = "1767225600000-7"
PAYLOAD = b'{"payload":{"username":"ada"}}'


def decode(raw, cls=UserLoggedInEvent, codec=CODEC):
    return codec.decode(cls, ENTRY, [b"event", raw])


def refused(raw, cls=UserLoggedInEvent, codec=CODEC):
    with pytest.raises(DecodeError) as error:
        decode(raw, cls, codec)
    return error.value


def whole(cls=UserLoggedInEvent, **changes):
    """An entry with all of its metadata, which takes the fast path, with some of it replaced."""
    return orjson.dumps({**cls().to_dict(), **changes})


def with_payload(cls, field, raw):
    """Two entries with this JSON as a field of the payload: only that, and with all metadata."""
    alone = b'{"payload":{"%s":%s}}' % (field.encode(), raw)
    return alone, orjson.dumps(cls().to_dict())[:-1] + b"," + alone[1:]
