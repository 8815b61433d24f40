"""Finds routers: in a module, a package with its modules, or as module:attribute."""

import pkgutil
import sys
from importlib import import_module
from types import ModuleType

from busredis.errors import SettingsError
from busredis.router import Router


def find_routers(target: str) -> list[Router]:
    """The routers at `target`; the current folder can be imported from.

    Raises SettingsError; what the user's own
    module raises while it is imported stays as it is.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    name, _, attribute = target.partition(":")
    module = _import(name)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, Router):
            routers = [key for key, value in vars(module).items() if isinstance(value, Router)]
            raise SettingsError(
                f"{target}: {attribute!r} is no Router; {name} has {', '.join(routers) or 'none'}"
            )
        return [found]
    within = pkgutil.iter_modules(getattr(module, "__path__", []))
    modules = [module, *(_import(f"{name}.{info.name}") for info in within)]
    found_routers = {
        id(value): value for found in modules for value in vars(found).values() if isinstance(value, Router)
    }
    if not found_routers:
        raise SettingsError(
            f"{target}: no Router in it; write 'router = Router()' there, or name it: {target}:name"
        )
    return list(found_routers.values())


def _import(name: str) -> ModuleType:
    if not name or name.startswith("."):
        raise SettingsError(f"{name!r} names no module: write shop.handlers, or shop.handlers:router")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"no module {name!r} here or on the Python path") from None
        raise
