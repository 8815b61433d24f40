"""The event catalog: sixteen facts of governance, memory, users and agents."""

from busredis.catalog.agent import (
    AgentCreatedEvent,
    CouncilDecisionMadeEvent,
    TaskAssignedEvent,
    TaskCompletedEvent,
    WorkflowStartedEvent,
)
from busredis.catalog.governance import (
    ActionEvaluatedEvent,
    BlackVaultEntryAddedEvent,
    OverrideActivatedEvent,
)
from busredis.catalog.memory import (
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
)
from busredis.catalog.user import (
    PasswordChangedEvent,
    PermissionGrantedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
)

__all__ = [
    "ActionEvaluatedEvent",
    "AgentCreatedEvent",
    "BlackVaultEntryAddedEvent",
    "ConversationStartedEvent",
    "CouncilDecisionMadeEvent",
    "KnowledgeConsolidatedEvent",
    "MemoryEntryCreatedEvent",
    "MemoryPurgedEvent",
    "OverrideActivatedEvent",
    "PasswordChangedEvent",
    "PermissionGrantedEvent",
    "TaskAssignedEvent",
    "TaskCompletedEvent",
    "UserLoggedInEvent",
    "UserRegisteredEvent",
    "WorkflowStartedEvent",
]
