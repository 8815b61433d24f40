"""A user: registered once, logs in, changes the password, is granted permissions."""

from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from busredis import EventSourcedAggregate, SnapshotPolicy, applies
from busredis.catalog import (
    PasswordChangedEvent,
    PermissionGrantedEvent,
    UserLoggedInEvent,
    UserRegisteredEvent,
)
from snapshots.arguments import moment, require
from snapshots.errors import AlreadyBegun, AlreadyDone, GrantedToOneself, InvalidArgument, NotBegun

#: So many addresses are remembered, those of the latest logins.
ADDRESSES = 10


class Grant(BaseModel):
    """Who granted a permission, and when."""

    by: str = ""
    at: datetime | None = None


class UserState(BaseModel):
    """What is known of a user. `addresses`: distinct, the latest last. `permissions`: by resource, by action."""

    username: str = ""
    email: str = ""
    role: str = ""
    registered_at: datetime | None = None
    logins: int = 0
    last_login_at: datetime | None = None
    last_session: str = ""
    addresses: list[str] = Field(default_factory=list)
    password_changes: int = 0
    password_changed_by: str = ""
    password_changed_at: datetime | None = None
    permissions: dict[str, dict[str, Grant]] = Field(default_factory=dict)


class User(
    EventSourcedAggregate[UserState],
    events=(UserRegisteredEvent, UserLoggedInEvent, PasswordChangedEvent, PermissionGrantedEvent),
    strict=True,
    # Nearly all of a user's events are logins, of which only the latest few still matter: so a snapshot each 100 keeps
    # loads short. A permission is asked for at every request: so one that has a snapshot gets a fresh one each hour too.
    snapshots=SnapshotPolicy(every=100, older_than=timedelta(hours=1)),
):
    """The account of one person or program."""

    def may(self, action: str, resource: str) -> bool:
        """Whether the user was granted to do `action` to `resource`."""
        return action in self.state.permissions.get(resource, {})

    @property
    def must_change_password(self) -> bool:
        """Whether somebody else set the password: then that one knows it too."""
        return self.state.password_changed_by not in ("", self.id, self.state.username)

    def register(
        self,
        username: str,
        email: str,
        role: str = "user",
        *,
        by: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """Opens the account, for the user or `by` somebody else. Raises AlreadyBegun, InvalidArgument."""
        state, at = self.state, moment(self.key, now)
        if state.registered_at is not None:
            raise AlreadyBegun(self.key, f"was registered at {state.registered_at.isoformat()}")
        require(self.key, username=username, email=email, role=role)
        name, _, domain = email.partition("@")
        if not (name and domain) or "@" in domain:
            raise InvalidArgument(self.key, "email", f"is no address: {email!r}")
        self.raise_event(
            UserRegisteredEvent(
                username=username, email=email, role=role, user_id=by or username, occurred_at=at
            )
        )

    def log_in(self, session_id: str, ip_address: str, *, now: datetime | None = None) -> None:
        """The user proved who they are. `now` may lie before the last login: facts come late. Raises NotBegun."""
        at = self._registered_at(now)
        require(self.key, session_id=session_id, ip_address=ip_address)
        username = self.state.username
        self.raise_event(
            UserLoggedInEvent(
                username=username,
                session_id=session_id,
                ip_address=ip_address,
                user_id=username,
                occurred_at=at,
            )
        )

    def change_password(self, *, by: str, now: datetime | None = None) -> None:
        """The password was replaced, by the user or by somebody else. Raises NotBegun, InvalidArgument."""
        at = self._registered_at(now)
        require(self.key, by=by)
        self.raise_event(
            PasswordChangedEvent(username=self.state.username, changed_by=by, user_id=by, occurred_at=at)
        )

    def grant(self, resource: str, action: str, *, by: str, now: datetime | None = None) -> None:
        """Lets the user do `action` to `resource`. Raises NotBegun, AlreadyDone, GrantedToOneself, InvalidArgument."""
        at = self._registered_at(now)
        require(self.key, resource=resource, action=action, by=by)
        if by in (self.id, self.state.username):
            raise GrantedToOneself(self.key, f"cannot grant {action} on {resource} to himself")
        known = self.state.permissions.get(resource, {}).get(action)
        if known is not None:
            raise AlreadyDone(self.key, f"was granted {action} on {resource} by {known.by} before")
        self.raise_event(
            PermissionGrantedEvent(
                username=self.state.username,
                resource=resource,
                action=action,
                granted_by=by,
                user_id=by,
                occurred_at=at,
            )
        )

    def _registered_at(self, now: datetime | None) -> datetime:
        if self.state.registered_at is None:
            raise NotBegun(self.key, "is not registered")
        return moment(self.key, now)

    @applies(UserRegisteredEvent)
    def _registered(self, event: UserRegisteredEvent) -> None:
        state = self.state
        state.username, state.email, state.role = event.username, event.email, event.role
        state.registered_at = event.occurred_at

    @applies(UserLoggedInEvent)
    def _logged_in(self, event: UserLoggedInEvent) -> None:
        state = self.state
        state.logins += 1
        if state.last_login_at is not None and event.occurred_at < state.last_login_at:
            return
        state.last_login_at, state.last_session = event.occurred_at, event.session_id
        others = [address for address in state.addresses if address != event.ip_address]
        state.addresses = [*others, event.ip_address][-ADDRESSES:]

    @applies(PasswordChangedEvent)
    def _password_changed(self, event: PasswordChangedEvent) -> None:
        state = self.state
        state.password_changes += 1
        state.password_changed_by, state.password_changed_at = event.changed_by, event.occurred_at

    @applies(PermissionGrantedEvent)
    def _granted(self, event: PermissionGrantedEvent) -> None:
        granted = Grant(by=event.granted_by, at=event.occurred_at)
        self.state.permissions.setdefault(event.resource, {})[event.action] = granted
