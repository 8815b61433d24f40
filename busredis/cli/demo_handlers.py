"""The handlers of the demo: each notes what it handled, so that the demo can add it up."""

from busredis.catalog import (
    ActionEvaluatedEvent,
    PermissionGrantedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
)
from busredis.delivery.context import Context
from busredis.events import DomainEvent
from busredis.router import Router

router = Router()


async def _note(event: DomainEvent, ctx: Context) -> None:
    key = ctx.view(f"handled:{ctx.group}:{event.event_type}")
    await ctx.execute_many([("SADD", key, str(event.event_id)), ("INCR", f"{key}:runs")])


@router.on(
    ActionEvaluatedEvent, PermissionGrantedEvent, UserLoggedInEvent, TaskCompletedEvent, name="audit-trail"
)
async def audit_trail(event: DomainEvent, ctx: Context) -> None:
    await _note(event, ctx)


@router.on(UserLoggedInEvent, name="last-login", backoff=0.2)
async def last_login(event: UserLoggedInEvent, ctx: Context) -> None:
    if event.session_id == "s-3" and ctx.attempt == 1:
        raise ConnectionError("the directory did not answer; another attempt will do")
    await _note(event, ctx)


@router.on(TaskCompletedEvent, name="task-durations", backoff=0.1, max_attempts=3)
async def task_durations(event: TaskCompletedEvent, ctx: Context) -> None:
    if event.agent_id == "agent-of-doom" and not await ctx.execute("GET", ctx.view("doom-is-over")):
        raise ValueError("agent-of-doom is not registered")
    await _note(event, ctx)
