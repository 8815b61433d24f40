"""Users: last login, suspicious logins, authorization cache and permissions."""

from datetime import timedelta

from busredis import Context, Router
from busredis.catalog import (
    PasswordChangedEvent,
    PermissionGrantedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
)
from handlers.newest import millis, position, set_newest

router = Router()

#: Logins of one user from so many addresses within the window are suspicious.
ADDRESSES = 3
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
    """view:login-addresses:<user>, a sorted set of addresses by last use; view:alerts when there are too many."""
    key, at = ctx.view(f"login-addresses:{event.username}"), millis(event)
    since = at - int(WINDOW.total_seconds() * 1000)
    _, recent = await ctx.execute_many(
        [("ZADD", key, "GT", at, event.ip_address), ("ZCOUNT", key, since, "+inf")]
    )
    if recent >= ADDRESSES:
        alert = f"{event.username}: logins from {ADDRESSES} or more addresses within {WINDOW}"
        await ctx.execute("HSET", ctx.view("alerts"), f"logins:{event.username}", alert)


@router.on(PermissionGrantedEvent, PasswordChangedEvent, name="authorization-cache")
async def authorization_cache(event: PermissionGrantedEvent | PasswordChangedEvent, ctx: Context) -> None:
    """Drops view:authorization:<user>, what the gateway has cached; view:authorization-changes:<user> is its version.

    The version is the number of facts that changed it (ZCARD), so that a second delivery does not raise it.
    """
    changes = ctx.view(f"authorization-changes:{event.username}")
    await ctx.execute_many(
        [
            ("ZADD", changes, millis(event), str(event.event_id)),
            ("DEL", ctx.view(f"authorization:{event.username}")),
        ]
    )


@router.on(PermissionGrantedEvent, name="permissions")
async def permissions(event: PermissionGrantedEvent, ctx: Context) -> None:
    """view:permissions:<user>, a hash: by `resource action`, who granted it."""
    field = f"{event.resource} {event.action}"
    await ctx.execute("HSET", ctx.view(f"permissions:{event.username}"), field, event.granted_by)
