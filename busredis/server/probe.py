"""Asks a port on loopback which server answers there, over a bare socket."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_COMMANDS = b"PING\r\nINFO server\r\nCONFIG GET dir\r\n"
_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Answer:
    """Who answers on a port: `ready` is False while the server still loads its data."""

    pid: int
    version: str
    folder: Path
    ready: bool


def ask(port: int) -> Answer | None:
    """The server on `port`, or None if nothing that speaks the protocol answers within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_COMMANDS)
            with connection.makefile("rb") as stream:
                ping, info, folder = (_reply(stream) for _ in range(3))
    except (OSError, ValueError):
        return None
    if not isinstance(info, str) or not isinstance(folder, list) or len(folder) != 2:
        return None
    facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    if not facts.get("process_id", "").isdigit():
        return None
    return Answer(int(facts["process_id"]), _version(facts), Path(str(folder[1])), ready=ping == "PONG")


def _reply(stream: BinaryIO) -> str | list[str] | None:
    line = stream.readline(65_536).decode(errors="replace").rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind in {"+", "-"}:
        return rest
    if kind == "$":
        size = int(rest)
        return stream.read(size + 2)[:-2].decode(errors="surrogateescape") if size >= 0 else None
    if kind == "*":
        return [str(_reply(stream)) for _ in range(int(rest))]
    raise ValueError(f"no reply of a server: {line[:40]!r}")


def _version(facts: dict[str, str]) -> str:
    if "valkey_version" in facts:
        return f"valkey {facts['valkey_version']}"
    return f"redis {facts.get('redis_version', '?')}"
