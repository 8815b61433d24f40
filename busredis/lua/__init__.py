"""The Lua scripts, one job a file, loaded once from the package."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Source:
    """A script and the digest that EVALSHA knows it by."""

    name: str
    text: str
    sha: str

    @classmethod
    def of(cls, name: str, text: str) -> "Source":
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@cache
def load(name: str) -> Source:
    """The script in `name`.lua."""
    return Source.of(name, resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8"))
