"""An override: a law set aside by somebody, for a reason, until a time; and what it let through."""

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from busredis import EventSourcedAggregate, SnapshotPolicy, applies
from busredis.catalog import ActionEvaluatedEvent, OverrideActivatedEvent
from snapshots.arguments import moment, require
from snapshots.errors import AlreadyBegun, InvalidArgument, NotBegun


class OverrideState(BaseModel):
    """What is known of an override; `expires_at` None: it holds for good."""

    override_type: str = ""
    justification: str = ""
    activated_by: str = ""
    activated_at: datetime | None = None
    expires_at: datetime | None = None
    allowed: int = 0
    denied: int = 0
    last_action: str = ""
    last_decision: Literal["ALLOW", "DENY"] | None = None


class Override(
    EventSourcedAggregate[OverrideState],
    events=(OverrideActivatedEvent, ActionEvaluatedEvent),
    strict=True,
    # Most overrides are one activation and a few actions: a tail that loads as fast as a snapshot. One that is asked
    # at every request of a service grows fast, but by small events: 200 of them are still one page of a load.
    snapshots=SnapshotPolicy(every=200, older_than=timedelta(hours=6)),
):
    """Activated once. Setting the same law aside again, after it expired too, is another override with another id."""

    def is_active(self, now: datetime | None = None) -> bool:
        """Whether it holds at `now`: from its activation on, and at `expires_at` no more."""
        at, state = moment(self.key, now, "now"), self.state
        if state.activated_at is None or at < state.activated_at:
            return False
        return state.expires_at is None or at < state.expires_at

    def activate(
        self,
        override_type: str,
        justification: str,
        *,
        by: str,
        expires_at: datetime | None = None,
        now: datetime | None = None,
    ) -> None:
        """Sets the law aside, until `expires_at` or for good. Raises AlreadyBegun, InvalidArgument."""
        state, at = self.state, moment(self.key, now)
        if state.activated_at is not None:
            raise AlreadyBegun(
                self.key, f"was activated by {state.activated_by} at {state.activated_at.isoformat()}"
            )
        require(self.key, override_type=override_type, justification=justification, by=by)
        if expires_at is not None:
            expires_at = moment(self.key, expires_at, "expires_at")
            if expires_at <= at:
                raise InvalidArgument(
                    self.key, "expires_at", f"is no later than the activation: {expires_at.isoformat()}"
                )
        self.raise_event(
            OverrideActivatedEvent(
                override_type=override_type,
                justification=justification,
                activated_by=by,
                expires_at=expires_at,
                user_id=by,
                occurred_at=at,
            )
        )

    def evaluate(self, action: str, *, by: str, violated_law: str, now: datetime | None = None) -> None:
        """Decides on an action that a law forbids: ALLOW while active, else DENY; both are evidence, so both are kept.

        The decision is `state.last_decision` then. Raises NotBegun, InvalidArgument.
        """
        at = moment(self.key, now)
        if self.state.activated_at is None:
            raise NotBegun(self.key, "was not activated")
        require(self.key, action=action, by=by, violated_law=violated_law)
        active = self.is_active(at)
        self.raise_event(
            ActionEvaluatedEvent(
                action=action,
                decision="ALLOW" if active else "DENY",
                violated_law=violated_law,
                rationale=self.state.justification if active else "the override is not active",
                context={"override": self.id, "user": by},
                user_id=by,
                occurred_at=at,
            )
        )

    @applies(OverrideActivatedEvent)
    def _activated(self, event: OverrideActivatedEvent) -> None:
        state = self.state
        state.override_type, state.justification = event.override_type, event.justification
        state.activated_by, state.activated_at = event.activated_by, event.occurred_at
        state.expires_at = event.expires_at

    @applies(ActionEvaluatedEvent)
    def _evaluated(self, event: ActionEvaluatedEvent) -> None:
        state = self.state
        state.last_action, state.last_decision = event.action, event.decision
        if event.decision == "ALLOW":
            state.allowed += 1
        else:
            state.denied += 1
