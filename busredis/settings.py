"""All settings, read once from BUSREDIS_* variables or given in code, and passed down."""

import os
import re
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from busredis.errors import SettingsError

Durability = Literal["memory", "fsync", "replica"]

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>ms|s|m|h|d)?")
#: Beyond this a duration is a slip of the pen, and milliseconds of it soon more than the server takes.
_LONGEST = timedelta(days=366)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_duration(text: str) -> timedelta | None:
    """What "30", "1.5", "500ms", "2m", "30d" say, seconds if there is no unit; None if it is no duration."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        return None
    try:
        return timedelta(**{_UNITS[found["unit"] or "s"]: float(found["number"])})
    except OverflowError:
        return None


class Settings(BaseSettings):
    """Every knob of busredis with its default. Durations are `timedelta` (a variable: "30", "500ms", "2m")."""

    model_config = SettingsConfigDict(env_prefix="BUSREDIS_", frozen=True, extra="forbid")

    #: The server. BUSREDIS_URL, then REDIS_URL; None means: the embedded server, where a command may start one.
    url: str | None = None
    #: The prefix of every key, inside its hash tag.
    namespace: str = Field("busredis", pattern=r"^[A-Za-z0-9_.-]{1,64}$")

    #: How many partitions the namespace has, recorded at its first use (1 if nobody says); None takes what is recorded.
    partitions: int | None = Field(None, ge=1, le=1_024)
    #: The folder or URL of the archive, from which reads go on where Redis was trimmed; None: there is none.
    archive: str | None = None

    #: Where keys of personal data are, `module:object` of a busredis.vault.KeyStore; None: in Redis.
    key_store: str | None = None

    #: How long a publish may take, all its retries included, before it is refused or indeterminate.
    publish_timeout: timedelta = timedelta(seconds=10)
    #: Largest event in bytes of JSON; also the largest entry that a daemon will parse.
    max_event_bytes: int = Field(1_048_576, ge=256, le=256 * 1_048_576)
    #: Most events in one append (one script call). A script blocks the server while it runs.
    batch_events: int = Field(500, ge=1, le=5_000)
    #: Most bytes in one append.
    batch_bytes: int = Field(2 * 1_048_576, ge=1_024, le=64 * 1_048_576)
    #: Most events waiting in an AsyncPublisher; when reached, publish() waits.
    buffer_events: int = Field(10_000, ge=1, le=1_000_000)
    #: Most bytes waiting in an AsyncPublisher; when reached, publish() waits.
    buffer_bytes: int = Field(64 * 1_048_576, ge=1_024)
    #: How long an idempotency key is remembered.
    once_window: timedelta = timedelta(hours=1)
    #: What a confirmation means: `memory` the server's reply, `fsync` on disk (appendfsync always, or a WAITAOF that can
    #: be relied on; else refused), `replica` on a replica too.
    durability: Durability = "memory"

    #: How long a daemon may be silent before others take over what it holds. Renewed every third of it.
    lease: timedelta = timedelta(seconds=30)
    #: How long stopping waits for handlers that run.
    grace: timedelta = timedelta(seconds=8)
    #: How often waiting and abandoned entries are looked for; with more than one partition, in groups that have something to do.
    sweep: timedelta = timedelta(seconds=1)
    #: How often one of the daemons trims what is to be kept no longer.
    trim_every: timedelta = timedelta(minutes=1)
    #: How long one blocking read waits for new entries; an idle daemon stops within it. With more than one partition, where
    #: the server does not tell what changes, a twentieth of it is the longest pause between two reads.
    block: timedelta = timedelta(seconds=1)
    #: Most entries that one handler of one daemon holds at a time, all of them leased.
    prefetch: int = Field(512, ge=1, le=10_000)
    #: Longest pause between attempts to reach the server.
    reconnect_cap: timedelta = timedelta(seconds=2)

    @field_validator("*", mode="before")
    @classmethod
    def _read_duration(cls, value: object, info: ValidationInfo) -> object:
        # A variable is text, and pydantic reads text as ISO 8601 or H:M:S only: "30", "1.5", "500ms", "2m" are clearer.
        if not isinstance(value, str) or cls.model_fields[str(info.field_name)].annotation is not timedelta:
            return value
        found = read_duration(value)
        if found is None and _DURATION.fullmatch(value.strip()):
            raise ValueError(f"a duration is at most {_LONGEST.days} days")
        return value if found is None else found

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in (
            "publish_timeout",
            "lease",
            "sweep",
            "block",
            "reconnect_cap",
            "once_window",
            "trim_every",
        ):
            if getattr(self, name) <= timedelta(0):
                raise ValueError(f"{name} must be longer than 0 s, it is {getattr(self, name)}")
            if getattr(self, name) > _LONGEST:
                raise ValueError(f"{name} is at most {_LONGEST.days} days, it is {getattr(self, name)}")
        if self.grace < timedelta(0):
            raise ValueError(f"grace must not be negative, it is {self.grace}")
        if self.sweep > self.lease:
            raise ValueError(f"sweep ({self.sweep}) must not be longer than lease ({self.lease})")
        return self

    @classmethod
    def load(cls, **given: object) -> Self:
        """Settings from `given`, then BUSREDIS_* variables, then defaults. Raises SettingsError naming each field.

        `None` among `given` counts as not given; REDIS_URL is the last resort for the url.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        if "url" not in chosen and not os.environ.get("BUSREDIS_URL") and os.environ.get("REDIS_URL"):
            chosen["url"] = os.environ["REDIS_URL"]
        try:
            return cls(**chosen)  # type: ignore[arg-type]  # validated by the model itself
        except ValidationError as error:
            raise SettingsError("; ".join(map(_problem, error.errors(include_input=False)))) from None


#: What pydantic says of patterns, durations and numbers is for who knows pydantic.
_CLEARER = {
    "string_pattern_mismatch": "letters, digits, '_', '.', '-', at most 64 of them",
    "time_delta_parsing": "a duration is a number and a unit: 30s, 500ms, 2m",
    "int_parsing": "that is no whole number",
}


def _problem(error: ErrorDetails) -> str:
    """What is wrong with one setting, and the variable that may have said it."""
    name = ".".join(map(str, error["loc"]))
    message = _CLEARER.get(error["type"], error["msg"].removeprefix("Value error, "))
    variable = f" (BUSREDIS_{name.upper()})" if name in Settings.model_fields else ""
    return f"{name or 'settings'}: {message}{variable}"
