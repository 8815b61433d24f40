"""Finds routers and aggregates: in a module, or in a package and its modules."""

import pkgutil
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from busredis.aggregate import EventSourcedAggregate
from busredis.errors import SettingsError
from busredis.router import Router

Found = TypeVar("Found")


def find_routers(target: str) -> list[Router]:
    """The routers at `target`; the current folder can be imported from.

    Raises SettingsError; what the user's own
    module raises while it is imported stays as it is.
    """
    name, _, attribute = target.partition(":")
    if attribute:
        module = _modules(name)[0]
        found = getattr(module, attribute, None)
        if not isinstance(found, Router):
            routers = [key for key, value in vars(module).items() if isinstance(value, Router)]
            raise SettingsError(
                f"{target}: {attribute!r} is no Router; {name} has {', '.join(routers) or 'none itself'}; "
                f"all that are in it and its modules: {name}"
            )
        return [found]
    found_routers = {
        id(value): value
        for module in _modules(name)
        for value in vars(module).values()
        if isinstance(value, Router)
    }
    if not found_routers:
        raise SettingsError(
            f"{target}: no Router in it; write 'router = Router()' there, or name it: {target}:name"
        )
    return list(found_routers.values())


def find_in(modules: list[str] | None, default: str, find: Callable[[str], list[Found]]) -> list[Found]:
    """What `find` finds in the modules of --import, else in `default`. Raises SettingsError that names the option."""
    if modules:
        return [found for name in modules for found in find(name)]
    try:
        return find(default)
    except SettingsError as error:
        raise SettingsError(
            f"say with --import in which module to look: --import shop.{default}; {error}"
        ) from None


def find_aggregates(target: str) -> list[type[EventSourcedAggregate[Any]]]:
    """The aggregate classes in a module, or in a package and its modules. Raises SettingsError if there is none."""
    found = {
        value.aggregate_type: value
        for module in _modules(target)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, EventSourcedAggregate) and value.aggregate_type
    }
    if not found:
        raise SettingsError(f"{target}: no aggregate in it; subclass busredis.EventSourcedAggregate there")
    return list(found.values())


def _modules(name: str) -> list[ModuleType]:
    """The module, and those within it if it is a package."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    module = _import(name)
    within = pkgutil.iter_modules(getattr(module, "__path__", []))
    return [module, *(_import(f"{name}.{info.name}") for info in within)]


def _import(name: str) -> ModuleType:
    if "/" in name:
        raise SettingsError(f"no module {name!r}{_for_a_file(name)}")
    if not name or name.startswith("."):
        raise SettingsError(f"{name!r} names no module: write shop.handlers, or shop.handlers:router")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"no module {name!r}{missing(name, error)}") from None
        raise


def missing(name: str, error: ModuleNotFoundError) -> str:
    """What to do about a module that is not found: it may be `name` itself, or one that it imports."""
    if error.name and name != error.name and not name.startswith(f"{error.name}."):
        return f", which {name} imports: install it where busredis is installed"
    if "/" in name or name.endswith(".py"):
        return _for_a_file(name)
    return (
        f" here or on the Python path: it is {name.partition('.')[0]}.py or a folder of that name in the folder where you "
        "start busredis, or it is installed, or PYTHONPATH names the folder it is in"
    )


def _for_a_file(name: str) -> str:
    return f": write a module, not a file: {name.removesuffix('.py').strip('./').replace('/', '.')}"
