"""Options that several commands share, and how they print."""

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from busredis.cli import table
from busredis.cli.terminal import printable
from busredis.client import Client
from busredis.keys import Keys
from busredis.location import server_url
from busredis.partitions import learn, look_up
from busredis.settings import Settings

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The server: redis://HOST:PORT/DB; default: BUSREDIS_URL, REDIS_URL, or what 'busredis up' started here.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", help="What its keys begin with; default: BUSREDIS_NAMESPACE, or busredis."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

console = Console()


def connect(url: str | None, namespace: str | None, *, first_use: bool = False) -> tuple[Client, list[Keys]]:
    """A client and the keys of each partition for what was given; with `first_use` their number is recorded."""
    settings = Settings.load(url=url, namespace=namespace)
    client, find = Client(server_url(settings)), learn if first_use else look_up
    return client, client.run(find(settings.namespace, settings.partitions))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS).decode())


def print_table(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """A table on standard output, in which nothing is broken that somebody may want to copy."""
    table.print_table(console, title, columns, rows)


def say(line: str) -> None:
    """A line for people on standard output; breaking it is the terminal's business, so that it can be copied whole."""
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def note(line: str) -> None:
    """A line for people on standard error, beside what is for programs on standard output."""
    Console(stderr=True, highlight=False).print(printable(line), markup=False, soft_wrap=True)
