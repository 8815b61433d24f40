"""Up to where a group is given again what it has had, as its hash says."""

import logging
import re
from functools import lru_cache

from busredis.keys import parse_id

log = logging.getLogger("busredis.delivery")

_ID = re.compile(rb"\d{1,20}-\d{1,20}")


def is_id(value: bytes) -> bool:
    """Whether it is an entry id as the server writes them."""
    return _ID.fullmatch(value) is not None


def is_upto(entry_id: bytes, until: bytes, key: str) -> bool:
    """Whether an entry is within a replay that ends at `until`, as the hash `key` says."""
    end = _end(until, key)
    return end is not None and parse_id(entry_id.decode()) <= end


@lru_cache(maxsize=1_000)
def _end(until: bytes, key: str) -> tuple[int, int] | None:
    """None, and a line in the log, once, for what somebody put there that is no entry id."""
    if is_id(until):
        return parse_id(until.decode())
    log.warning("%s has %r, which is no entry id: it is taken for no replay", key, until[:80])
    return None
