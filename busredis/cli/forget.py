"""forget: a subject's personal data becomes unreadable, everywhere."""

import time
from typing import Annotated

import typer

from busredis.cli.options import Json, Namespace, Url, connect, print_json, say
from busredis.errors import SettingsError
from busredis.privacy import forget as forget_subject
from busredis.settings import Settings
from busredis.vault import REMEMBER


def forget(
    subject: Annotated[
        str, typer.Argument(help="Whose data: the value of the field that Personal(...) names.")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    json: Json = False,
) -> None:
    """Make the personal data of somebody unreadable, for good.

    The key is deleted with which it is encrypted, in Redis, archive and snapshots.
    """
    if Settings.load(url=url, namespace=namespace).key_store:
        raise SettingsError(
            "the keys are in a store of yours (BUSREDIS_KEY_STORE): delete the key there, and drop snapshots"
        )
    client, partitions = connect(url, namespace)
    if not yes:
        typer.confirm(f"make the personal data of {subject!r} unreadable for good?", abort=True)
    known = client.run(forget_subject(partitions, subject))
    # A process that has the key may load an aggregate with it until then, and write a snapshot of that.
    time.sleep(REMEMBER + 0.5)
    client.run(forget_subject(partitions, subject))
    if json:
        print_json({"subject": subject, "known": known})
    else:
        say(
            f"{subject}: {'forgotten' if known else 'no key was there'}; snapshots are dropped, and are made anew "
            "from what is left",
        )
