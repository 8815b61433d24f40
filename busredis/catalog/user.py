"""Events of users: who is there, came in, and may do what."""

from busredis.events import DomainEvent


class UserRegisteredEvent(DomainEvent):
    """A user account was created."""

    username: str = ""
    email: str = ""
    role: str = ""


class UserLoggedInEvent(DomainEvent):
    """A user proved to be who they say and got a session."""

    username: str = ""
    session_id: str = ""
    ip_address: str = ""


class PasswordChangedEvent(DomainEvent):
    """A user's password was replaced, by the user or by `changed_by`."""

    username: str = ""
    changed_by: str = ""


class PermissionGrantedEvent(DomainEvent):
    """A user may from now on do `action` to `resource`."""

    username: str = ""
    resource: str = ""
    action: str = ""
    granted_by: str = ""
