"""Agents: their register, workload, task durations, workflows and council decisions."""

import orjson

from busredis import Context, Router
from busredis.catalog import (
    AgentCreatedEvent,
    CouncilDecisionMadeEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    WorkflowStartedEvent,
)
from handlers.newest import millis, position, set_newest

router = Router()

# KEYS[1] open tasks, KEYS[2] done tasks; ARGV[1] task, ARGV[2] unix ms. The two facts may come in either order.
_ASSIGN = """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
"""


@router.on(AgentCreatedEvent, name="agent-register")
async def agent_register(event: AgentCreatedEvent, ctx: Context) -> None:
    """view:agent:<name>, a hash: type, capabilities."""
    values = {"type": event.agent_type, "capabilities": " ".join(event.capabilities)}
    await set_newest(ctx, f"agent:{event.agent_name}", position(event, ctx), values)


@router.on(TaskAssignedEvent, TaskCompletedEvent, name="agent-workload")
async def agent_workload(event: TaskAssignedEvent | TaskCompletedEvent, ctx: Context) -> None:
    """view:tasks-open:<agent> and view:tasks-done:<agent>, sorted sets of tasks by time."""
    to_do, done = ctx.view(f"tasks-open:{event.agent_id}"), ctx.view(f"tasks-done:{event.agent_id}")
    if isinstance(event, TaskAssignedEvent):
        await ctx.script(_ASSIGN, [to_do, done], [event.task_id, millis(event)])
    else:
        ctx.effects.add("ZADD", done, millis(event), event.task_id)
        ctx.effects.add("ZREM", to_do, event.task_id)


@router.on(TaskCompletedEvent, name="task-durations")
async def task_durations(event: TaskCompletedEvent, ctx: Context) -> None:
    """view:task-durations:<agent>, a sorted set of tasks by execution time in ms."""
    key = ctx.view(f"task-durations:{event.agent_id}")
    ctx.effects.add("ZADD", key, event.execution_time_ms, event.task_id)


@router.on(WorkflowStartedEvent, name="workflows")
async def workflows(event: WorkflowStartedEvent, ctx: Context) -> None:
    """view:workflows, a sorted set of workflow ids by their start."""
    ctx.effects.add("ZADD", ctx.view("workflows"), millis(event), event.workflow_id)


@router.on(CouncilDecisionMadeEvent, name="council-decisions")
async def council_decisions(event: CouncilDecisionMadeEvent, ctx: Context) -> None:
    """view:council:<id>, a hash: the newest decision, the votes as JSON, whether there was consensus."""
    votes = orjson.dumps(event.votes).decode()
    values = {"decision": event.decision, "votes": votes, "consensus": str(event.consensus_reached).lower()}
    await set_newest(ctx, f"council:{event.council_id}", position(event, ctx), values)
