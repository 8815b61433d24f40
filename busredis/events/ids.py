"""Ids of events."""

import os
import time
from uuid import UUID

_last_id = 0


def new_event_id() -> UUID:
    """A UUID of version 7 (RFC 9562): ids sort by time, and rise strictly within a process."""
    global _last_id  # noqa: PLW0603 - one counter a process is what makes the ids rise
    stamp = time.time_ns()
    head = (stamp // 1_000_000) << 28 | (stamp % 1_000_000) * (1 << 28) // 1_000_000
    _last_id = head = max(head, _last_id + 1)
    millis, fraction = head >> 28, head & 0xFFF_FFFF
    tail = int.from_bytes(os.urandom(6), "big") & 0x3FFF_FFFF_FFFF
    return UUID(
        int=millis << 80 | 0x7 << 76 | (fraction >> 16) << 64 | 0b10 << 62 | (fraction & 0xFFFF) << 46 | tail
    )
