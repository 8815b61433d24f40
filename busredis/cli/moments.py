"""What one writes for a moment: an age, a time, or an entry id."""

import re
from datetime import UTC, datetime

from busredis.client import Client
from busredis.commands import raw
from busredis.errors import SettingsError
from busredis.settings import read_duration

_ID = re.compile(r"\d{9,20}-\d{1,20}")


def position(text: str, option: str, client: Client) -> str:
    """The entry id at which `text` lies: `30d` (so long ago, by the server's clock), a time, `beginning`, `now`, or an id.

    Raises SettingsError.
    """
    if text == "beginning":
        return "0-1"
    if _ID.fullmatch(text):
        return text
    age = read_duration("0s" if text == "now" else text)
    if age is not None:
        seconds, micros = client.run(raw("TIME").__iter__())
        return f"{max(0, int(seconds) * 1000 + int(micros) // 1000 - int(age.total_seconds() * 1000))}-0"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{option} {text}: write an age (30d, 12h), a time (2026-11-25T10:00:00, UTC if no zone), "
            "'beginning', 'now' or an entry id (1700000000000-0)"
        ) from None
    return f"{max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))}-0"
