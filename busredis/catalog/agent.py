"""Events of agents: who works, on what, and what the council decided."""

from typing import Any

from pydantic import Field

from busredis.events import DomainEvent


class AgentCreatedEvent(DomainEvent):
    """An agent joined, able to do what `capabilities` lists."""

    agent_name: str = ""
    agent_type: str = ""
    capabilities: list[str] = Field(default_factory=list)


class TaskAssignedEvent(DomainEvent):
    """A task was given to an agent."""

    agent_id: str = ""
    task_id: str = ""
    task_description: str = ""
    priority: int | str = 0


class TaskCompletedEvent(DomainEvent):
    """An agent finished a task, with any JSON value as its result."""

    agent_id: str = ""
    task_id: str = ""
    result: Any = None
    execution_time_ms: float = 0.0


class WorkflowStartedEvent(DomainEvent):
    """A workflow began with these parameters."""

    workflow_id: str = ""
    workflow_type: str = ""
    input_params: dict[str, Any] = Field(default_factory=dict)


class CouncilDecisionMadeEvent(DomainEvent):
    """A council of agents voted and decided."""

    council_id: str = ""
    decision: str = ""
    votes: dict[str, Any] = Field(default_factory=dict)
    consensus_reached: bool = False
