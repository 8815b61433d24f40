"""An agent: created once, is assigned tasks, completes each of them once, starts workflows."""

import math
import sys
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

from busredis import EventSourcedAggregate, SnapshotPolicy, applies
from busredis.catalog import AgentCreatedEvent, TaskAssignedEvent, TaskCompletedEvent, WorkflowStartedEvent
from snapshots.arguments import moment, require
from snapshots.errors import AlreadyBegun, AlreadyDone, Full, InvalidArgument, NotBegun, NotHere

#: A priority is a number, the higher the sooner, or one of these words.
PRIORITIES = {"low": -10, "normal": 0, "high": 10, "urgent": 100}
#: So many tasks may be open at once.
OPEN_TASKS = 1_000
#: So many ids of finished tasks, and of workflows, are remembered, the latest.
REMEMBERED = 100


class Task(BaseModel):
    """An open task."""

    description: str = ""
    priority: int | str = 0
    assigned_at: datetime | None = None


class AgentState(BaseModel):
    """What is known of an agent. Of finished tasks and of workflows: how many, and the latest ids, the last one last."""

    name: str = ""
    kind: str = ""
    capabilities: list[str] = Field(default_factory=list)
    created_at: datetime | None = None
    tasks: dict[str, Task] = Field(default_factory=dict)
    finished: list[str] = Field(default_factory=list)
    completed: int = 0
    execution_time_ms: float = 0.0
    workflows: list[str] = Field(default_factory=list)
    workflows_started: int = 0


class Agent(
    EventSourcedAggregate[AgentState],
    events=(AgentCreatedEvent, TaskAssignedEvent, TaskCompletedEvent, WorkflowStartedEvent),
    strict=True,
    # Two events a task, and results may be large: a load without a snapshot would read every result ever given, of
    # which the state keeps none. An agent works in bursts: after one, the snapshot catches up within minutes.
    snapshots=SnapshotPolicy(every=50, older_than=timedelta(minutes=15)),
):
    """Who does tasks. A task is open until it is completed; open ones are kept, so only they can be completed."""

    @property
    def next_task(self) -> str | None:
        """The open task of the highest priority, of those the one that was assigned first."""

        def place(item: tuple[str, Task]) -> tuple[int, float, str]:
            at = item[1].assigned_at
            return -_rank(item[1].priority), at.timestamp() if at else 0.0, item[0]

        return min(self.state.tasks.items(), key=place)[0] if self.state.tasks else None

    @property
    def mean_execution_ms(self) -> float:
        """What a completed task took, on average; 0 if there is none."""
        return self.state.execution_time_ms / self.state.completed if self.state.completed else 0.0

    def create(
        self,
        name: str,
        kind: str,
        capabilities: list[str],
        *,
        by: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """The agent joins. Raises AlreadyBegun, InvalidArgument."""
        state, at = self.state, moment(self.key, now)
        if state.created_at is not None:
            raise AlreadyBegun(self.key, f"was created at {state.created_at.isoformat()}")
        require(self.key, name=name, kind=kind)
        for capability in capabilities:
            require(self.key, capabilities=capability)
        self.raise_event(
            AgentCreatedEvent(
                agent_name=name,
                agent_type=kind,
                capabilities=list(dict.fromkeys(capabilities)),
                user_id=by,
                occurred_at=at,
            )
        )

    def assign(
        self,
        task_id: str,
        description: str,
        priority: int | str = 0,
        *,
        by: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """Gives the agent a task. Raises NotBegun, AlreadyDone, Full, InvalidArgument.

        The id of one that it finished may be used again only once REMEMBERED others were finished after it.
        """
        state, at = self.state, self._created_at(now)
        require(self.key, task_id=task_id, description=description)
        if isinstance(priority, str) and priority not in PRIORITIES:
            raise InvalidArgument(self.key, "priority", f"is a number or of {', '.join(PRIORITIES)}")
        if task_id in state.tasks:
            raise AlreadyDone(self.key, f"task {task_id} was assigned before and is open")
        if task_id in state.finished:
            raise AlreadyDone(self.key, f"task {task_id} was completed before")
        if len(state.tasks) >= OPEN_TASKS:
            raise Full(self.key, f"has {len(state.tasks):,} open tasks")
        self.raise_event(
            TaskAssignedEvent(
                agent_id=self.id,
                task_id=task_id,
                task_description=description,
                priority=priority,
                user_id=by,
                occurred_at=at,
            )
        )

    def complete(
        self, task_id: str, result: Any = None, *, execution_time_ms: float = 0.0, now: datetime | None = None
    ) -> None:
        """The agent finished an open task, with any JSON value. Raises NotBegun, AlreadyDone, NotHere, InvalidArgument."""
        state, at = self.state, self._created_at(now)
        if task_id in state.finished:
            raise AlreadyDone(self.key, f"task {task_id} was completed before")
        if task_id not in state.tasks:
            raise NotHere(self.key, f"was not assigned task {task_id}")
        if not (math.isfinite(execution_time_ms) and execution_time_ms >= 0):
            raise InvalidArgument(self.key, "execution_time_ms", f"is no duration: {execution_time_ms}")
        self.raise_event(
            TaskCompletedEvent(
                agent_id=self.id,
                task_id=task_id,
                result=result,
                execution_time_ms=execution_time_ms,
                occurred_at=at,
            )
        )

    def start_workflow(
        self,
        workflow_id: str,
        workflow_type: str,
        input_params: dict[str, Any] | None = None,
        *,
        now: datetime | None = None,
    ) -> None:
        """The agent starts a workflow; each once, as far as REMEMBERED goes. Raises NotBegun, AlreadyDone."""
        at = self._created_at(now)
        require(self.key, workflow_id=workflow_id, workflow_type=workflow_type)
        if workflow_id in self.state.workflows:
            raise AlreadyDone(self.key, f"workflow {workflow_id} was started before")
        self.raise_event(
            WorkflowStartedEvent(
                workflow_id=workflow_id,
                workflow_type=workflow_type,
                input_params=input_params or {},
                occurred_at=at,
            )
        )

    def _created_at(self, now: datetime | None) -> datetime:
        if self.state.created_at is None:
            raise NotBegun(self.key, "was not created")
        return moment(self.key, now)

    @applies(AgentCreatedEvent)
    def _created(self, event: AgentCreatedEvent) -> None:
        state = self.state
        state.name, state.kind, state.created_at = event.agent_name, event.agent_type, event.occurred_at
        state.capabilities = list(event.capabilities)

    @applies(TaskAssignedEvent)
    def _assigned(self, event: TaskAssignedEvent) -> None:
        self.state.tasks[event.task_id] = Task(
            description=event.task_description, priority=event.priority, assigned_at=event.occurred_at
        )

    @applies(TaskCompletedEvent)
    def _completed(self, event: TaskCompletedEvent) -> None:
        state = self.state
        state.tasks.pop(event.task_id, None)
        state.finished = [*state.finished, event.task_id][-REMEMBERED:]
        state.completed += 1
        # Infinity is no JSON: a sum that would be infinite stays the largest number.
        state.execution_time_ms = min(
            state.execution_time_ms + max(event.execution_time_ms, 0.0), sys.float_info.max
        )

    @applies(WorkflowStartedEvent)
    def _workflow_started(self, event: WorkflowStartedEvent) -> None:
        state = self.state
        state.workflows = [*state.workflows, event.workflow_id][-REMEMBERED:]
        state.workflows_started += 1


def _rank(priority: int | str) -> int:
    """A word that is not known ranks as normal: facts of other producers have their own."""
    return PRIORITIES.get(priority, 0) if isinstance(priority, str) else priority
