"""The rows of the tables."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Stands in inputs where a password may stand; no answer may show it.
SECRET = "hunter2"


@dataclass(frozen=True)
class Case:
    """`attempt()` raises `error`, and `says` stands in its message."""

    tried: str
    attempt: Callable[[], object]
    error: type[Exception]
    says: str


@dataclass(frozen=True)
class Accepted:
    """`attempt()` is no error but policy: it gives `result`."""

    tried: str
    attempt: Callable[[], object]
    result: object
    policy: str


@dataclass(frozen=True)
class Entry:
    """An entry with these fields is a dead letter with this reason; `says` stands in its error."""

    tried: str
    fields: dict[str | bytes, Any]
    reason: str
    says: str


@dataclass(frozen=True)
class Call:
    """A command line that ends with exit code `code`; `says` stands on standard error."""

    tried: str
    arguments: tuple[str, ...]
    code: int
    says: str
    given: bytes = b""
