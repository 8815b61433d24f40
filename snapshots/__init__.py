"""The reference application's aggregates: an override, a user, an agent, a conversation, each made by its events.

Commands decide and raise a `Refused`; apply methods only note. Each state stays bounded however long the history gets,
and each class says when it is snapshotted. BlackVaultEntryAddedEvent and CouncilDecisionMadeEvent belong to none: the
vault and a council decide by nothing that came before, so they are published on their own.
"""

from snapshots.agent import Agent
from snapshots.conversation import Conversation
from snapshots.override import Override
from snapshots.user import User

__all__ = ["Agent", "Conversation", "Override", "User"]
