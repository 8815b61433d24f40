"""Governance: the audit trail, denials and their alerts, overrides, the black vault."""

from datetime import timedelta

from busredis import Context, Router
from busredis.catalog import ActionEvaluatedEvent, BlackVaultEntryAddedEvent, OverrideActivatedEvent
from handlers.newest import millis

router = Router()

#: So many denials of one subject within the window raise an alert.
DENIALS = 5
WINDOW = timedelta(minutes=10)


@router.on(ActionEvaluatedEvent, OverrideActivatedEvent, BlackVaultEntryAddedEvent, name="audit-trail")
async def audit_trail(
    event: ActionEvaluatedEvent | OverrideActivatedEvent | BlackVaultEntryAddedEvent, ctx: Context
) -> None:
    """view:audit-trail, a sorted set of event ids by time; view:audit-trail:entries, a hash with each event whole."""
    event_id = str(event.event_id)
    await ctx.execute_many(
        [
            ("ZADD", ctx.view("audit-trail"), millis(event), event_id),
            ("HSET", ctx.view("audit-trail:entries"), event_id, event.to_json()),
        ]
    )


@router.on(ActionEvaluatedEvent, name="denials")
async def denials(event: ActionEvaluatedEvent, ctx: Context) -> None:
    """view:denials:<subject>, a sorted set of denied events by time; view:alerts when there are too many.

    view:denials, a hash: by subject, how many denials there were. The subject is the user, else the address, in the
    context of the action, else its aggregate.
    """
    if event.decision != "DENY":
        return
    subject = subject_of(event)
    key, at = ctx.view(f"denials:{subject}"), millis(event)
    since = at - int(WINDOW.total_seconds() * 1000)
    replies = await ctx.execute_many(
        [("ZADD", key, at, str(event.event_id)), ("ZCARD", key), ("ZCOUNT", key, since, at)]
    )
    _, total, recent = replies
    await ctx.script(_AT_LEAST, [ctx.view("denials")], [subject, total])
    if recent >= DENIALS:
        alert = f"{subject}: {DENIALS} or more denials within {WINDOW}"
        await ctx.execute("HSET", ctx.view("alerts"), f"denials:{subject}", alert)


# A count only rises: a slow writer must not put an older count over a newer one.
_AT_LEAST = """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) > known then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
"""


def subject_of(event: ActionEvaluatedEvent) -> str:
    """Who was denied."""
    context = event.context
    return str(context.get("user") or context.get("address") or event.aggregate_id or "unknown")


@router.on(OverrideActivatedEvent, name="override-alerts")
async def override_alerts(event: OverrideActivatedEvent, ctx: Context) -> None:
    """view:alerts for administrators; view:overrides, a sorted set of active overrides by their end (unix ms)."""
    override = event.aggregate_id or str(event.event_id)
    ends = int(event.expires_at.timestamp() * 1000) if event.expires_at else "+inf"
    alert = f"override {event.override_type} by {event.activated_by}: {event.justification}"
    await ctx.execute_many(
        [
            ("HSET", ctx.view("alerts"), f"override:{override}", alert),
            ("ZADD", ctx.view("overrides"), ends, override),
        ]
    )
