"""Whether what was written is as safe as the settings want, as flows: on disk, or on a replica."""

from busredis.commands import Flow, many
from busredis.errors import PublishRefused, ServerError, ServerUnavailable


def syncs_before_it_answers() -> Flow[bool]:
    """Whether the server syncs its append-only file before each reply, so that a reply says all.

    If not, WAITAOF must tell; raises PublishRefused where that cannot be relied on.
    """
    replies = yield from many(
        [
            ("CONFIG", "GET", "appendonly"),
            ("CONFIG", "GET", "appendfsync"),
            ("INFO", "server"),
            ("COMMAND", "INFO", "WAITAOF"),
        ]
    )
    for reply in replies:
        if isinstance(reply, ServerUnavailable):
            raise reply
    *_, known = replies
    logs, policy, info = (b"" if isinstance(reply, ServerError) else _value(reply) for reply in replies[:3])
    if logs == b"no":
        raise PublishRefused('durability="fsync" needs a server with appendonly yes; nothing was written')
    if logs == b"yes" and policy == b"always":
        return True
    if known == [None] or _answers_too_early(info):
        why = (
            "it has no WAITAOF"
            if known == [None]
            else "its WAITAOF, as in Valkey and Redis 7.4, answers before the sync"
        )
        raise PublishRefused(
            f'durability="fsync" needs appendfsync always on this server, where it is {policy.decode() or "unknown"}: '
            f"{why}; nothing was written"
        )
    return False


def _value(reply: list[bytes] | bytes) -> bytes:
    """Of INFO the text, of CONFIG GET the value."""
    if isinstance(reply, list):
        return reply[-1] if reply else b""
    return reply


def _answers_too_early(info: bytes) -> bool:
    # https://github.com/redis/redis/pull/13793: while nothing waits to be written, a loop of the server takes all that was
    # written for synced. Redis 8 has the fix; Valkey 8.1 and 9.1, asked forty times, were early forty times.
    return b"valkey_version:" in info or b"redis_version:7.4." in info or b"redis_version:" not in info
