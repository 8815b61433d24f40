"""The libraries of the extra `archive`, imported when they are needed: a bus without an archive does not pay for them."""

from importlib import import_module
from typing import Any

from busredis.errors import SettingsError


def need(module: str) -> Any:
    """`module` of pyarrow or fsspec. Raises SettingsError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise SettingsError(f"an archive needs pip install busredis[archive] ({error})") from None
