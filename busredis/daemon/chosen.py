"""Which handlers of which routers a daemon runs."""

from busredis.errors import RegistrationError
from busredis.router import Handler, Router


def chosen(routers: tuple[Router, ...], groups: list[str] | None) -> list[Handler]:
    """The handlers of these groups, or all. Raises RegistrationError for a group that is not there, or if there is none."""
    merged = Router()
    for router in routers:
        merged.include(router)
    handlers = [handler for handler in merged if groups is None or handler.name in groups]
    known = {handler.name for handler in merged}
    if groups is not None and set(groups) - known:
        missing = ", ".join(sorted(set(groups) - known))
        raise RegistrationError(
            f"no handler is named {missing}; there are {', '.join(sorted(known)) or 'none'}"
        )
    if not handlers:
        raise RegistrationError("no handler to run: register one with @router.on(EventClass)")
    return handlers
