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


#: What a script begins with, by name: lines that several have in common.
_PRELUDES = dict.fromkeys(("append", "due"), "order") | dict.fromkeys(
    ("look", "page_owned", "read_owned", "rewind", "sweep", "trim"), "ids"
)


@cache
def load(name: str) -> Source:
    """The script in `name`.lua, with its prelude before it."""
    names = (_PRELUDES[name], name) if name in _PRELUDES else (name,)
    folder = resources.files(__package__)
    return Source.of(name, "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in names))
