"""Memory: user context, the search index, the knowledge view, purges."""

import re

from busredis import Context, Router
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


@router.on(MemoryEntryCreatedEvent, name="memory-entries")
async def memory_entries(event: MemoryEntryCreatedEvent, ctx: Context) -> None:
    """view:memory, a sorted set of entry ids by time; view:memory:<id>, a hash with both sides."""
    entry = event.entry_id or str(event.event_id)
    values = {"user": event.user_message, "ai": event.ai_response}
    await set_newest(ctx, f"memory:{entry}", position(event, ctx), values)
    await ctx.execute("ZADD", ctx.view("memory"), millis(event), entry)


@router.on(MemoryPurgedEvent, name="memory-purge")
async def memory_purge(event: MemoryPurgedEvent, ctx: Context) -> None:
    """Takes the entries before the date out of view:memory; view:memory-purges keeps that it was done."""
    before = int(event.before_date.timestamp() * 1000) if event.before_date else millis(event)
    old = await ctx.execute("ZRANGEBYSCORE", ctx.view("memory"), "-inf", f"({before}")
    bodies = [("DEL", ctx.view(f"memory:{entry.decode()}")) for entry in old]
    await ctx.execute_many(
        [
            *bodies,
            ("ZREMRANGEBYSCORE", ctx.view("memory"), "-inf", f"({before}"),
            ("HSET", ctx.view("memory-purges"), str(event.event_id), event.purged_count),
        ]
    )


@router.on(KnowledgeConsolidatedEvent, name="search-index")
async def search_index(event: KnowledgeConsolidatedEvent, ctx: Context) -> None:
    """view:search:<word>, a set of the knowledge ids whose content has the word."""
    await ctx.execute_many(
        [("SADD", ctx.view(f"search:{word}"), event.knowledge_id) for word in words(event.content)]
    )


@router.on(KnowledgeConsolidatedEvent, name="knowledge")
async def knowledge(event: KnowledgeConsolidatedEvent, ctx: Context) -> None:
    """view:knowledge:<id>, a hash; view:category:<name>, its ids; view:sources:<entry>, what was made of an entry."""
    values = {"category": event.category, "content": event.content, "confidence": str(event.confidence)}
    if await set_newest(ctx, f"knowledge:{event.knowledge_id}", position(event, ctx), values):
        await ctx.execute_many(_edges(event, ctx))


def _edges(event: KnowledgeConsolidatedEvent, ctx: Context) -> list[tuple[str, ...]]:
    category = ("SADD", ctx.view(f"category:{event.category}"), event.knowledge_id)
    return [
        category,
        *(("SADD", ctx.view(f"sources:{entry}"), event.knowledge_id) for entry in event.source_entries),
    ]
