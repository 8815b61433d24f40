"""Governance: the audit trail, denials and their alerts, overrides, the black vault."""

import math
from datetime import datetime, timedelta
from typing import Annotated, get_args

from pydantic import AwareDatetime, Field

from busredis import Context, DomainEvent, Router
from busredis.catalog import ActionEvaluatedEvent, BlackVaultEntryAddedEvent, OverrideActivatedEvent
from handlers.newest import millis

router = Router()

#: So many denials of one subject within the window raise an alert.
DENIALS = 5
WINDOW = timedelta(minutes=10)


class OverrideExpired(DomainEvent):
    """An override came to its end. It is this application's own event, scheduled by it; the catalog has no such fact."""

    override: str = ""
    override_type: str = ""
    ended_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


Audited = ActionEvaluatedEvent | OverrideActivatedEvent | OverrideExpired | BlackVaultEntryAddedEvent


@router.on(*get_args(Audited), name="audit-trail")
async def audit_trail(event: Audited, ctx: Context) -> None:
    """view:audit-trail, a sorted set of event ids by time; view:audit-trail:entries, a hash with each event whole."""
    event_id = str(event.event_id)
    ctx.effects.add("ZADD", ctx.view("audit-trail"), millis(event), event_id)
    ctx.effects.add("HSET", ctx.view("audit-trail:entries"), event_id, event.to_json())


@router.on(ActionEvaluatedEvent, name="denials")
async def denials(event: ActionEvaluatedEvent, ctx: Context) -> None:
    """view:denials:<subject>, a sorted set of denied events by time; view:alerts when there are too many.

    view:denials, a hash: by subject, how many denials there were. The subject is the user in the context of the action,
    else its aggregate. The same by address in view:denials-by-address, so that one that tries many users is seen.
    """
    if event.decision != "DENY":
        return
    address = event.context.get("address")
    for view, subject in (("denials", subject_of(event)), ("denials-by-address", address)):
        if subject:
            await _deny(event, ctx, view, str(subject))


async def _deny(event: ActionEvaluatedEvent, ctx: Context, view: str, subject: str) -> None:
    keys = [ctx.view(f"{view}:{subject}"), ctx.view(view), ctx.view("alerts")]
    window = int(WINDOW.total_seconds() * 1000)
    alert = f"{subject}: {DENIALS} or more denials within {WINDOW}"
    field = f"{view}:{subject}"
    await ctx.script(
        _DENY, keys, [millis(event), str(event.event_id), subject, DENIALS, window, field, alert]
    )


# KEYS[1] denials of the subject, KEYS[2] their number by subject, KEYS[3] alerts
# ARGV[1] unix ms, ARGV[2] event id, ARGV[3] subject, ARGV[4] so many denials ARGV[5] within so many ms, ARGV[6] field, ARGV[7] alert
# Denials come in any order, so this one may complete a window that begins before it and ends after it.
_DENY = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], redis.call('ZCARD', KEYS[1]))
local many, times = tonumber(ARGV[4]), {}
local before = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, many)
local after = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, many)
for i = #before, 2, -2 do times[#times + 1] = tonumber(before[i]) end
for i = 2, #after, 2 do times[#times + 1] = tonumber(after[i]) end
for i = many, #times do
  if times[i] - times[i - many + 1] <= tonumber(ARGV[5]) then
    return redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
  end
end
return 0
"""


def subject_of(event: ActionEvaluatedEvent) -> str:
    """Who was denied."""
    context = event.context
    return str(context.get("user") or event.aggregate_id or "unknown")


@router.on(OverrideActivatedEvent, name="override-alerts")
async def override_alerts(event: OverrideActivatedEvent, ctx: Context) -> None:
    """view:alerts for administrators; view:overrides, a sorted set of active overrides by their end (unix ms).

    When it ends it is deactivated: OverrideExpired is scheduled for that time.
    """
    override = event.aggregate_id or str(event.event_id)
    alert = f"override {event.override_type} by {event.activated_by}: {event.justification}"
    ctx.effects.add("HSET", ctx.view("alerts"), f"override:{override}", alert)
    overrides, ends = [ctx.view("overrides")], _end(event.expires_at)
    # Before it is scheduled, so that its end comes after its beginning, also if that is now.
    await ctx.script(_ACTIVATE, overrides, [ends, override])
    if event.expires_at:
        expired = OverrideExpired(
            override=override, override_type=event.override_type, ended_at=event.expires_at
        )
        await ctx.schedule(expired, at=event.expires_at, key=f"override-expires:{event.event_id}")


@router.on(OverrideExpired, name="override-expiry")
async def override_expiry(event: OverrideExpired, ctx: Context) -> None:
    """Takes an override that has ended out of view:overrides, unless it has a later end by now; alerts administrators."""
    await ctx.script(_DEACTIVATE, [ctx.view("overrides")], [_end(event.ended_at), event.override])
    alert = f"override {event.override_type} has ended"
    ctx.effects.add("HSET", ctx.view("alerts"), f"override-expired:{event.override}", alert)


def _end(at: datetime | None) -> float:
    return int(at.timestamp() * 1000) if at else math.inf


# KEYS[1] active overrides by their end; ARGV[1] unix ms of the end, ARGV[2] override
# This may run again, and late: what has ended by the server's clock is not active, whoever says so.
_ACTIVATE = """
local time = redis.call('TIME')
if tonumber(ARGV[1]) and tonumber(ARGV[1]) <= time[1] * 1000 then return 0 end
return redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
"""

_DEACTIVATE = """
local known = redis.call('ZSCORE', KEYS[1], ARGV[2])
if known and tonumber(known) <= tonumber(ARGV[1]) then return redis.call('ZREM', KEYS[1], ARGV[2]) end
return 0
"""
