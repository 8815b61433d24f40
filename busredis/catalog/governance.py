"""Events of governance: what was evaluated, overridden and locked away."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from busredis.events import DomainEvent


class ActionEvaluatedEvent(DomainEvent):
    """An action was evaluated against the laws; a decision that is not given is DENY."""

    action: str = ""
    decision: Literal["ALLOW", "DENY"] = "DENY"
    violated_law: str | None = None
    rationale: str = ""
    context: dict[str, Any] = Field(default_factory=dict)


class OverrideActivatedEvent(DomainEvent):
    """Somebody set a rule aside, until `expires_at` or for good."""

    override_type: str = ""
    justification: str = ""
    activated_by: str = ""
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class BlackVaultEntryAddedEvent(DomainEvent):
    """Content was locked away, known from now on by its hash alone."""

    content_hash: str = ""
    reason: str = ""
    added_by: str = ""
