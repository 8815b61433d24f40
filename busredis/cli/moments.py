"""What one writes for a moment: an age, a time, or an entry id; with several partitions also for one of them alone."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from busredis.client import Client
from busredis.commands import many
from busredis.errors import ServerError, SettingsError
from busredis.keys import Keys
from busredis.settings import read_duration

_ID = re.compile(r"\d{9,20}-\d{1,20}")
_IN_ONE = re.compile(r"(\d{1,4})/(.+)")


def positions(text: str, option: str, client: Client, partitions: Sequence[Keys]) -> dict[Keys, str]:
    """By partition the entry id at which `text` lies: in all of them, or in one alone: `3/1700000000000-0`, `3/7d`.

    An entry id is of one partition: with several, one that does not say which is refused. Raises SettingsError.
    """
    found = _IN_ONE.fullmatch(text)
    if found is None:
        at = _position(text, option, client, partitions)
        if len(partitions) > 1 and _ID.fullmatch(text):
            raise SettingsError(
                f"{option} {text}: an entry id is of one of the {len(partitions)} partitions: write 3/{text} if it is of partition 3, "
                "which is then the only one that is meant, or a time or an age for all"
            )
        return dict.fromkeys(partitions, at)
    number = int(found[1])
    if len(partitions) == 1:
        raise SettingsError(f"{option} {text}: this namespace has one partition: leave out {found[1]}/")
    if number >= len(partitions):
        raise SettingsError(
            f"{option} {text}: there is no partition {number}, they are 0 to {len(partitions) - 1}"
        )
    return {partitions[number]: _position(found[2], option, client, [partitions[number]])}


def _position(text: str, option: str, client: Client, partitions: Sequence[Keys]) -> str:
    """The entry id at which `text` lies: `30d` (so long ago, by the server's clock), a time, `beginning`, `now`, or an id.

    Raises SettingsError.
    """
    if text == "beginning":
        return "0-1"
    if _ID.fullmatch(text):
        return text
    age = read_duration("0s" if text == "now" else text)
    if age is not None:
        return f"{max(0, _server_ms(client, partitions) - int(age.total_seconds() * 1000))}-0"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option} {text}: write an age (30d, 12h), a time (2026-11-25T10:00:00, UTC if no zone), "
            "'beginning', 'now' or an entry id (1700000000000-0)"
        ) from None
    return f"{max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))}-0"


def _server_ms(client: Client, partitions: Sequence[Keys]) -> int:
    """Unix ms by the clock that gives the first partition its ids; if its node does not answer, by that of the next."""
    for keys in partitions:
        try:
            # TIME has no key: it goes to the node of the one beside it.
            _, time = client.run(many([("EXISTS", keys.clock), ("TIME",)]))
        except ServerError:
            if keys is partitions[-1]:
                raise
        else:
            return int(time[0]) * 1000 + int(time[1]) // 1000
    raise AssertionError("there is a partition")
