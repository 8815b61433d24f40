"""Events of memory: what was said, learned and forgotten."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from busredis.events import DomainEvent


class ConversationStartedEvent(DomainEvent):
    """A user began to talk; `user_id` is that user, `metadata_user_id` whoever published the event."""

    user_id: str = ""
    initial_message: str = ""


class MemoryEntryCreatedEvent(DomainEvent):
    """One exchange, a message and its answer, was kept."""

    entry_id: str = ""
    user_message: str = ""
    ai_response: str = ""


class KnowledgeConsolidatedEvent(DomainEvent):
    """Memory entries were distilled into one piece of knowledge, or into a new wording of it."""

    knowledge_id: str = ""
    category: str = ""
    content: str = ""
    confidence: float = 0.0
    source_entries: list[str] = Field(default_factory=list)


class MemoryPurgedEvent(DomainEvent):
    """Memory entries from before `before_date` were forgotten; without a date, all up to the event."""

    purged_count: int = 0
    before_date: Annotated[AwareDatetime, Field(strict=False)] | None = None
