"""dead ls, show, retry, discard."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, console, print_json, print_table, say
from busredis.cli.terminal import printable
from busredis.client import Client
from busredis.dead_letters import MOST, DeadLetter, DeadLetters, retry_all

app = typer.Typer(
    help="Dead letters: events that a handler gave up, with the reason.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Group = Annotated[str, typer.Argument(help="The group (the name of the handler) that gave it up.")]
Id = Annotated[str, typer.Argument(help="The id of the letter, from 'dead ls'.")]


@app.command("ls")
def ls(
    group: Annotated[str | None, typer.Argument(help="Only this group.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of a group.")] = 100,
    *,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """List dead letters, the oldest first."""
    client, partitions = connect(url, namespace)
    letters = DeadLetters(partitions)
    groups = [group] if group else client.run(letters.groups())
    found = [letter for name in groups for letter in client.run(letters.list(name, limit=limit))]
    if json:
        print_json([letter.to_dict() for letter in found])
        return
    if not found:
        _say_none(client, letters, group)
        return
    rows: list[list[object]] = [
        [x.group, x.id, x.event_type, x.reason, x.error[:80], x.attempts, _when(x.last_failure)]
        for x in found
    ]
    print_table(
        f"{len(found)} dead letter(s)", ["group", "id", "type", "reason", "error", "attempts", "last"], rows
    )


@app.command("show")
def show(
    group: Group, letter_id: Id, *, url: Url = None, namespace: Namespace = None, json: Json = False
) -> None:
    """Show one whole: its fields, the error, the traceback."""
    client, partitions = connect(url, namespace)
    letter = client.run(DeadLetters(partitions).get(group, letter_id))
    if json:
        print_json(letter.to_dict())
        return
    for name, value in letter.to_dict().items():
        shown = _when(value) if name.endswith("_failure") else value
        text = printable(str(shown), indent=16)
        console.print(f"{name:>14}  {text}", markup=False, highlight=False, soft_wrap=True)


@app.command("retry")
def retry(
    group: Group,
    letter_id: Annotated[str, typer.Argument(help="The id of the letter, or 'all'.")],
    *,
    key: Annotated[
        str | None, typer.Option(help="With 'all': those of this key of an ordered handler.")
    ] = None,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Hand a dead letter to its handler again, and to no other.

    It has all its attempts again. 'all' go in the order of the events.
    """
    client, partitions = connect(url, namespace)
    letters = DeadLetters(partitions)
    if letter_id != "all":
        if key is not None:
            raise typer.BadParameter(f"--key chooses among all: busredis dead retry {group} all --key {key}")
        letter = client.run(letters.get(group, letter_id))
        client.run(letters.retry(letter))
        say(f"redelivered to {group}: {letter.entry_id}")
        return
    retried = client.run(retry_all(partitions, group, key=key))
    for letter in retried.done:
        say(f"redelivered to {group}: {letter.entry_id}")
    if not retried.done and not retried.trimmed:
        _say_none(client, letters, group)
    for letter in retried.trimmed:
        say(f"not redelivered: {letter.entry_id} is no longer in {letter.stream}; the letter has its fields")


@app.command("discard")
def discard(
    group: Group,
    letter_id: Annotated[str, typer.Argument(help="The id of the letter, or 'all'.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    namespace: Namespace = None,
) -> None:
    """Remove a dead letter for good; the event itself stays."""
    client, partitions = connect(url, namespace)
    letters = DeadLetters(partitions)
    chosen = _chosen(client, letters, group, letter_id)
    if not chosen:
        _say_none(client, letters, group)
        return
    if not yes:
        typer.confirm(f"remove {len(chosen)} dead letter(s) of {group} for good?", abort=True)
    for letter in chosen:
        client.run(letters.discard(letter))
        say(f"discarded {letter.id}")


def _chosen(client: Client, letters: DeadLetters, group: str, letter_id: str) -> list[DeadLetter]:
    if letter_id == "all":
        return client.run(letters.list(group, limit=MOST))
    return [client.run(letters.get(group, letter_id))]


def _say_none(client: Client, letters: DeadLetters, group: str | None) -> None:
    """That there is no letter; of a group that may be misspelt also which groups have some."""
    if group is None:
        say("no dead letters")
        return
    others = client.run(letters.groups())
    say(f"group {group!r} has no dead letters; those that have some: {', '.join(others) or 'none'}")


def _when(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
