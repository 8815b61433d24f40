"""Options that several commands share, and how they print."""

from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from busredis.cli.terminal import printable
from busredis.client import Client
from busredis.keys import Keys
from busredis.location import server_url
from busredis.partitions import learn, look_up
from busredis.settings import Settings

Url = Annotated[
    str | None, typer.Option("--url", help="redis://HOST:PORT/DB; default BUSREDIS_URL.", show_default=False)
]
Namespace = Annotated[str | None, typer.Option("--namespace", help="Prefix of the keys; default busredis.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]

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
    """A table; columns of numbers are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        # Text, since what stands in brackets in a string would be taken for markup.
        table.add_row(*[Text(f"{cell:,}" if isinstance(cell, int) else printable(str(cell))) for cell in row])
    console.print(table)
