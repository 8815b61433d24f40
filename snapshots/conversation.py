"""A conversation: started once, grows by entries, is distilled into knowledge, and forgets."""

import math
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field

from busredis import EventSourcedAggregate, SnapshotPolicy, applies
from busredis.catalog import (
    ConversationStartedEvent,
    KnowledgeConsolidatedEvent,
    MemoryEntryCreatedEvent,
    MemoryPurgedEvent,
)
from snapshots.arguments import moment, require
from snapshots.errors import AlreadyBegun, AlreadyDone, Full, InvalidArgument, NotBegun, NotHere

#: So many entries that are not purged, and so many pieces of knowledge, may be in one conversation.
ENTRIES = 2_000
KNOWLEDGE = 1_000


class Knowledge(BaseModel):
    """A piece of knowledge in its newest wording, which is the `wordings`-th."""

    category: str = ""
    confidence: float = 0.0
    wordings: int = 0
    at: datetime | None = None


class ConversationState(BaseModel):
    """What is known of a conversation. `entries`: those that are not purged, and when each was made; not their texts."""

    user: str = ""
    started_at: datetime | None = None
    entries: dict[str, datetime] = Field(default_factory=dict)
    created: int = 0
    purged: int = 0
    knowledge: dict[str, Knowledge] = Field(default_factory=dict)


class Conversation(
    EventSourcedAggregate[ConversationState],
    events=(
        ConversationStartedEvent,
        MemoryEntryCreatedEvent,
        KnowledgeConsolidatedEvent,
        MemoryPurgedEvent,
    ),
    strict=True,
    # Its events carry whole messages, its state only ids and times: a snapshot saves more bytes than events, so it
    # pays early. Most conversations end after a few exchanges and never get one.
    snapshots=SnapshotPolicy(every=25, older_than=timedelta(hours=1)),
):
    """What one user and the AI said. Texts are in the events and the read models; here is what can be decided upon."""

    def start(
        self,
        user: str,
        initial_message: str = "",
        *,
        by: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """`user` begins to talk, or somebody in their name. Raises AlreadyBegun, InvalidArgument."""
        state, at = self.state, moment(self.key, now)
        if state.started_at is not None:
            raise AlreadyBegun(self.key, f"was started by {state.user} at {state.started_at.isoformat()}")
        require(self.key, user=user)
        publisher: dict[str, Any] = {"metadata_user_id": by or user}  # a name that type checkers cannot see
        self.raise_event(
            ConversationStartedEvent(
                user_id=user, initial_message=initial_message, occurred_at=at, **publisher
            )
        )

    def add_entry(
        self, entry_id: str, user_message: str, ai_response: str, *, now: datetime | None = None
    ) -> None:
        """Keeps one exchange. Raises NotBegun, AlreadyDone, Full, InvalidArgument.

        The id of an entry that was purged is forgotten too, and may be used again.
        """
        state, at = self.state, self._started_at(now)
        require(self.key, entry_id=entry_id, messages=user_message + ai_response)
        if entry_id in state.entries:
            raise AlreadyDone(self.key, f"entry {entry_id} was added before")
        if len(state.entries) >= ENTRIES:
            raise Full(self.key, f"has {len(state.entries):,} entries: purge some")
        self.raise_event(
            MemoryEntryCreatedEvent(
                entry_id=entry_id,
                user_message=user_message,
                ai_response=ai_response,
                user_id=state.user,
                occurred_at=at,
            )
        )

    def consolidate(
        self,
        knowledge_id: str,
        category: str,
        content: str,
        sources: list[str],
        *,
        confidence: float = 1.0,
        now: datetime | None = None,
    ) -> None:
        """Distils entries into a piece of knowledge, or into a new wording of it; the category stays.

        Raises NotBegun, NotHere for a source that is not an entry of this conversation or was purged, Full,
        InvalidArgument.
        """
        state, at = self.state, self._started_at(now)
        require(self.key, knowledge_id=knowledge_id, category=category, content=content)
        if not (math.isfinite(confidence) and 0 <= confidence <= 1):
            raise InvalidArgument(self.key, "confidence", f"is between 0 and 1, not {confidence}")
        if not sources:
            raise InvalidArgument(self.key, "sources", "are none: knowledge comes from entries")
        unknown = [entry for entry in sources if entry not in state.entries]
        if unknown:
            raise NotHere(self.key, f"has no entry {', '.join(unknown[:5])}")
        known = state.knowledge.get(knowledge_id)
        if known is not None and known.category != category:
            raise InvalidArgument(
                self.key, "category", f"of {knowledge_id} is {known.category}, not {category}"
            )
        if known is None and len(state.knowledge) >= KNOWLEDGE:
            raise Full(self.key, f"has {len(state.knowledge):,} pieces of knowledge")
        self.raise_event(
            KnowledgeConsolidatedEvent(
                knowledge_id=knowledge_id,
                category=category,
                content=content,
                confidence=confidence,
                source_entries=list(dict.fromkeys(sources)),
                occurred_at=at,
            )
        )

    def purge(self, *, by: str, before: datetime | None = None, now: datetime | None = None) -> None:
        """Forgets the entries from before a time, or all so far; what was distilled from them stays.

        If there are none, nothing happens and no event is raised. Raises NotBegun; InvalidArgument, also for a time in
        the future, as that would forget what was not said yet.
        """
        at = self._started_at(now)
        require(self.key, by=by)
        if before is not None:
            before = moment(self.key, before, "before")
            if before > at:
                raise InvalidArgument(self.key, "before", f"is in the future: {before.isoformat()}")
        count = len(self._entries_before(before))
        if count:
            self.raise_event(
                MemoryPurgedEvent(purged_count=count, before_date=before, user_id=by, occurred_at=at)
            )

    def _started_at(self, now: datetime | None) -> datetime:
        if self.state.started_at is None:
            raise NotBegun(self.key, "was not started")
        return moment(self.key, now)

    def _entries_before(self, before: datetime | None) -> list[str]:
        return [entry for entry, at in self.state.entries.items() if before is None or at < before]

    @applies(ConversationStartedEvent)
    def _started(self, event: ConversationStartedEvent) -> None:
        self.state.user, self.state.started_at = event.user_id, event.occurred_at

    @applies(MemoryEntryCreatedEvent)
    def _entry_created(self, event: MemoryEntryCreatedEvent) -> None:
        self.state.entries[event.entry_id] = event.occurred_at
        self.state.created += 1

    @applies(KnowledgeConsolidatedEvent)
    def _consolidated(self, event: KnowledgeConsolidatedEvent) -> None:
        known = self.state.knowledge.get(event.knowledge_id, Knowledge())
        self.state.knowledge[event.knowledge_id] = Knowledge(
            category=event.category,
            confidence=event.confidence,
            wordings=known.wordings + 1,
            at=event.occurred_at,
        )

    @applies(MemoryPurgedEvent)
    def _purged(self, event: MemoryPurgedEvent) -> None:
        for entry in self._entries_before(event.before_date):
            del self.state.entries[entry]
        self.state.purged += event.purged_count
