"""The newest fact wins, however late or often an older one is delivered."""

from busredis import Context, DomainEvent

# KEYS[1] hash; ARGV[1] field for the position; ARGV[2] position, as text that sorts; ARGV[3+] fields and values
_SET_NEWEST = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and known >= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], unpack(ARGV, 3))
return 1
"""


def millis(event: DomainEvent) -> int:
    """When it occurred, in unix ms."""
    return int(event.occurred_at.timestamp() * 1000)


def position(event: DomainEvent, ctx: Context) -> str:
    """Text that sorts by when events occurred, then by when they were published."""
    ms, _, seq = ctx.entry_id.partition("-")
    return f"{millis(event):015d} {int(ms):015d} {int(seq):020d}"


async def set_newest(ctx: Context, view: str, at: str, values: dict[str, str]) -> bool:
    """Writes `values` into the hash `view`, unless it has a newer fact; whether it did."""
    flat = [part for pair in values.items() for part in pair]
    return bool(await ctx.script(_SET_NEWEST, [ctx.view(view)], ["at", at, *flat]))
