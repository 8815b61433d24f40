"""Memory: user context, the search index, the knowledge view, purges."""

import json
import re

from busredis import Context, Retry, Router
from busredis.catalog import (
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
)
from handlers.newest import millis, position, set_newest

router = Router()

_WORD = re.compile(r"\w{3,40}")


def words(text: str) -> list[str]:
    """The words that a text is found by."""
    return sorted(set(_WORD.findall(text.lower())))


@router.on(ConversationStartedEvent, name="user-context")
async def user_context(event: ConversationStartedEvent, ctx: Context) -> None:
    """view:user-context:<user>, a hash: the newest conversation and how it began."""
    conversation = event.aggregate_id or str(event.event_id)
    values = {
        "conversation": conversation,
        "message": event.initial_message,
        "time": event.occurred_at.isoformat(),
    }
    await set_newest(ctx, f"user-context:{event.user_id}", position(event, ctx), values)


# KEYS[1] this entry, then for each scope that it belongs to two: its entries, and up to when they were purged
# ARGV[1] unix ms, ARGV[2] entry id, ARGV[3] position, ARGV[4] user's side, ARGV[5] ai's side, ARGV[6] conversation
# Purges and entries are handled by different groups, in any order: what was purged must not come back.
_REMEMBER = """
for i = 3, #KEYS, 2 do
  if tonumber(ARGV[1]) < tonumber(redis.call('GET', KEYS[i]) or '-inf') then return 0 end
end
local known = redis.call('HGET', KEYS[1], 'at')
if known and known > ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'at', ARGV[3], 'user', ARGV[4], 'ai', ARGV[5], 'conversation', ARGV[6])
for i = 2, #KEYS, 2 do redis.call('ZADD', KEYS[i], ARGV[1], ARGV[2]) end
return 1
"""

# KEYS[1] up to when entries were purged; ARGV[1] unix ms
_RAISE = """
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or '-inf') then redis.call('SET', KEYS[1], ARGV[1]) end
"""


def conversation_of(event: MemoryEntryCreatedEvent | MemoryPurgedEvent) -> str:
    """The conversation that an event belongs to; "" for none."""
    return event.aggregate_id or "" if event.aggregate_type == "Conversation" else ""


def scope(ctx: Context, conversation: str) -> tuple[str, str]:
    """The entries of a conversation, or of all for "", and up to when they were purged."""
    if not conversation:
        return ctx.view("memory"), ctx.view("memory-purged-before")
    return ctx.view(f"memory-of:{conversation}"), ctx.view(f"memory-purged-before:{conversation}")


@router.on(MemoryEntryCreatedEvent, name="memory-entries")
async def memory_entries(event: MemoryEntryCreatedEvent, ctx: Context) -> None:
    """view:memory and view:memory-of:<conversation>, sorted sets of entry ids by time; view:memory:<id>, a hash."""
    entry, conversation = event.entry_id or str(event.event_id), conversation_of(event)
    keys = [ctx.view(f"memory:{entry}"), *scope(ctx, "")]
    if conversation:
        keys += scope(ctx, conversation)
    said = [event.user_message, event.ai_response, conversation]
    await ctx.script(_REMEMBER, keys, [millis(event), entry, position(event, ctx), *said])


@router.on(MemoryPurgedEvent, name="memory-purge")
async def memory_purge(event: MemoryPurgedEvent, ctx: Context) -> None:
    """Takes the entries before the date out of view:memory, those of its conversation if it is the purge of one.

    view:memory-purges keeps that it was done.
    """
    before = int(event.before_date.timestamp() * 1000) if event.before_date else millis(event)
    entries, mark = scope(ctx, conversation_of(event))
    await ctx.script(_RAISE, [mark], [before])
    while old := await ctx.execute("ZRANGEBYSCORE", entries, "-inf", f"({before}", "LIMIT", 0, 500):
        bodies = [ctx.view(f"memory:{entry.decode()}") for entry in old]
        within = await ctx.execute_many([("HGET", body, "conversation") for body in bodies])
        sets = {scope(ctx, conversation.decode())[0] for conversation in within if conversation}
        removals = [("ZREM", name, *old) for name in {entries, ctx.view("memory"), *sets}]
        await ctx.execute_many([*removals, ("DEL", *bodies)])
    await ctx.execute("HSET", ctx.view("memory-purges"), str(event.event_id), event.purged_count)


@router.on(KnowledgeConsolidatedEvent, name="search-index")
async def search_index(event: KnowledgeConsolidatedEvent, ctx: Context) -> None:
    """view:search:<word>, a set of the knowledge ids whose content has the word."""
    await _link(event, ctx, "search-index", [f"search:{word}" for word in words(event.content)])


@router.on(KnowledgeConsolidatedEvent, name="knowledge")
async def knowledge(event: KnowledgeConsolidatedEvent, ctx: Context) -> None:
    """view:knowledge:<id>, a hash; view:category:<name>, its ids; view:sources:<entry>, what was made of an entry."""
    values = {"category": event.category, "content": event.content, "confidence": str(event.confidence)}
    await set_newest(ctx, f"knowledge:{event.knowledge_id}", position(event, ctx), values)
    places = [f"category:{event.category}", *(f"sources:{entry}" for entry in event.source_entries)]
    await _link(event, ctx, "knowledge-links", places)


# KEYS[1] hash: where the id is; KEYS[2+] the sets that it leaves, then those that it joins
# ARGV[1] position of the fact that put it where it is, ARGV[2] position of this fact, ARGV[3] knowledge id,
# ARGV[4] the names of the sets that it joins, ARGV[5] how many it leaves
# Returns 0 if it was moved meanwhile.
_LINK = """
if (redis.call('HGET', KEYS[1], 'at') or '') ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call(i <= 1 + ARGV[5] and 'SREM' or 'SADD', KEYS[i], ARGV[3]) end
redis.call('HSET', KEYS[1], 'at', ARGV[2], 'places', ARGV[4])
return 1
"""


async def _link(event: KnowledgeConsolidatedEvent, ctx: Context, kind: str, places: list[str]) -> None:
    """Puts the knowledge id into the sets `places`, and takes it out of where an older fact had put it."""
    known, at = ctx.view(f"{kind}:{event.knowledge_id}"), position(event, ctx)
    before, old = await ctx.execute("HMGET", known, "at", "places")
    if before is not None and before.decode() > at:
        return
    left = [place for place in json.loads(old or "[]") if place not in places]
    keys = [known, *(ctx.view(place) for place in [*left, *places])]
    arguments = [before or "", at, event.knowledge_id, json.dumps(places), len(left)]
    if not await ctx.script(_LINK, keys, arguments):
        raise Retry("another fact about the same knowledge came first", after=0.1, counts=False)
