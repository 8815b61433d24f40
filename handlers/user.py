"""Users: last login, suspicious logins, authorization cache and permissions."""

from datetime import timedelta

from busredis import Context, Router
from busredis.catalog import (
    ActionEvaluatedEvent,
    PasswordChangedEvent,
    PermissionGrantedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
)
from handlers.newest import millis, position, set_newest

router = Router()

#: Logins of one user from so many addresses within the window are suspicious.
ADDRESSES = 3
#: A login after so many denials of the same user from the same address within the window is suspicious.
GUESSES = 5
WINDOW = timedelta(hours=1)


@router.on(UserRegisteredEvent, name="user-directory")
async def user_directory(event: UserRegisteredEvent, ctx: Context) -> None:
    """view:user:<name>, a hash: email, role."""
    await set_newest(
        ctx, f"user:{event.username}", position(event, ctx), {"email": event.email, "role": event.role}
    )


@router.on(UserLoggedInEvent, name="last-login")
async def last_login(event: UserLoggedInEvent, ctx: Context) -> None:
    """view:last-login:<user>, a hash: when, from which address, in which session. A late fact changes nothing."""
    values = {"time": event.occurred_at.isoformat(), "address": event.ip_address, "session": event.session_id}
    await set_newest(ctx, f"last-login:{event.username}", position(event, ctx), values)


@router.on(UserLoggedInEvent, name="suspicious-logins")
async def suspicious_logins(event: UserLoggedInEvent, ctx: Context) -> None:
    """view:logins:<user>, a sorted set of `<event id> <address>` by time; view:alerts when there are too many addresses."""
    keys = [ctx.view(f"logins:{event.username}"), ctx.view("alerts")]
    window = int(WINDOW.total_seconds() * 1000)
    alert = f"{event.username}: logins from {ADDRESSES} or more addresses within {WINDOW}"
    login = f"{event.event_id} {event.ip_address}"
    await ctx.script(
        _LOGIN, keys, [millis(event), login, ADDRESSES, window, f"logins:{event.username}", alert]
    )


# KEYS[1] logins of the user, KEYS[2] alerts
# ARGV[1] unix ms, ARGV[2] login, ARGV[3] so many addresses ARGV[4] within so many ms, ARGV[5] field, ARGV[6] alert
# Logins come in any order, so this one may complete a window that begins before it and ends after it.
_LOGIN = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local at, many, window = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local around = redis.call('ZRANGEBYSCORE', KEYS[1], at - window, at + window, 'WITHSCORES')
local seen, distinct, first = {}, 0, 1
for last = 1, #around, 2 do
  local address = string.sub(around[last], 38)
  seen[address] = (seen[address] or 0) + 1
  if seen[address] == 1 then distinct = distinct + 1 end
  while around[last + 1] - around[first + 1] > window do
    local left = string.sub(around[first], 38)
    seen[left], first = seen[left] - 1, first + 2
    if seen[left] == 0 then distinct = distinct - 1 end
  end
  if distinct >= many then return redis.call('HSET', KEYS[2], ARGV[5], ARGV[6]) end
end
return 0
"""


@router.on(PermissionGrantedEvent, PasswordChangedEvent, name="authorization-cache")
async def authorization_cache(event: PermissionGrantedEvent | PasswordChangedEvent, ctx: Context) -> None:
    """Drops view:authorization:<user>, what the gateway has cached; view:authorization-changes:<user> is its version.

    The version is the number of facts that changed it (ZCARD), so that a second delivery does not raise it.
    """
    changes = ctx.view(f"authorization-changes:{event.username}")
    ctx.effects.add("ZADD", changes, millis(event), str(event.event_id))
    ctx.effects.add("DEL", ctx.view(f"authorization:{event.username}"))


@router.on(PermissionGrantedEvent, name="permissions")
async def permissions(event: PermissionGrantedEvent, ctx: Context) -> None:
    """view:permission-audit:<user>, a sorted set of grants by time; view:permissions:<user>, a set of what is allowed."""
    allowed = f"{event.resource} {event.action}"
    grant = f"{event.event_id} {allowed} granted by {event.granted_by}"
    ctx.effects.add("ZADD", ctx.view(f"permission-audit:{event.username}"), millis(event), grant)
    ctx.effects.add("SADD", ctx.view(f"permissions:{event.username}"), allowed)


@router.on(UserLoggedInEvent, ActionEvaluatedEvent, name="logins-after-denials")
async def logins_after_denials(event: UserLoggedInEvent | ActionEvaluatedEvent, ctx: Context) -> None:
    """view:alerts when a user logs in from an address that was denied that user many times before: a guessed password.

    view:tried:<user> <address>, a sorted set of denials and logins by time; the facts may come in any order.
    """
    if isinstance(event, ActionEvaluatedEvent):
        if event.decision != "DENY" or not {"user", "address"} <= event.context.keys():
            return
        kind, who = "deny", f"{event.context['user']} {event.context['address']}"
    else:
        kind, who = "login", f"{event.username} {event.ip_address}"
    keys = [ctx.view(f"tried:{who}"), ctx.view("alerts")]
    alert = f"{who}: a login after {GUESSES} or more denials within {WINDOW}"
    window = int(WINDOW.total_seconds() * 1000)
    await ctx.script(
        _TRIED, keys, [millis(event), f"{kind} {event.event_id}", GUESSES, window, f"guessed:{who}", alert]
    )


# KEYS[1] denials and logins, KEYS[2] alerts
# ARGV[1] unix ms, ARGV[2] "deny" or "login" and id, ARGV[3] so many denials ARGV[4] within so many ms before a login,
# ARGV[5] field, ARGV[6] alert
_TRIED = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
local at, many, window = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local around = redis.call('ZRANGEBYSCORE', KEYS[1], at - window, at + window, 'WITHSCORES')
for i = 1, #around, 2 do
  if string.sub(around[i], 1, 5) == 'login' then
    local denied = 0
    for j = 1, #around, 2 do
      local before = around[i + 1] - around[j + 1]
      if string.sub(around[j], 1, 4) == 'deny' and before >= 0 and before <= window then denied = denied + 1 end
    end
    if denied >= many then return redis.call('HSET', KEYS[2], ARGV[5], ARGV[6]) end
  end
end
return 0
"""
