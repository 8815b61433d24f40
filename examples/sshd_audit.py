"""OpenSSH's log as events: python examples/sshd_audit.py auth.log | busredis publish --jsonl -

Each failed authentication ("Failed METHOD for ...") becomes an ActionEvaluatedEvent with decision DENY, each
"Accepted METHOD for ..." a UserLoggedInEvent. "message repeated N times: [ ... ]" counts N times. All other lines are
counted and passed over; one that cannot be read is shown, and the exit code is then 1.
"""

import argparse
import re
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from busredis import DomainEvent
from busredis.catalog import ActionEvaluatedEvent, UserLoggedInEvent

_LINE = re.compile(
    r"(?P<time>\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S+) (?P<host>\S+) "
    r"(?P<program>[^\s:\[]+)(?:\[(?P<pid>\d+)\])?: ?(?P<message>.*)",
    re.DOTALL,
)
_REPEATED = re.compile(r"message repeated (?P<times>\d{1,5}) times: \[ (?P<message>.*)\]$", re.DOTALL)
_IS_OUTCOME = re.compile(r"(message repeated \d+ times: \[ )?(Failed|Accepted) \S+ for ")
# A user may call itself "root from 192.0.2.1 port 2": the address that sshd wrote is the last one.
_OUTCOME = re.compile(
    r"(?P<outcome>Failed|Accepted) (?P<method>\S+) for (?P<invalid>invalid user )?(?P<user>.*) "
    r"from (?P<address>\S+) port (?P<port>\d+)(?: ssh\d)?(?:: .*)?$",
    re.DOTALL,
)
_NAMESPACE = uuid.UUID("6f0b9a5e-52c0-5b6e-8c0b-7d1f4a3e9b10")
_HALF_A_YEAR = timedelta(days=182)


class _Calendar:
    """Gives the times of a log their year, which sshd does not write: it rises where December turns to January."""

    def __init__(self, year: int) -> None:
        self._last = datetime(year, 1, 1, tzinfo=UTC)
        self._year = year
        self._is_first = True

    def time(self, text: str) -> datetime:
        """Raises ValueError."""
        if text[0].isdigit():
            return datetime.fromisoformat(text).astimezone(UTC)
        found = self._in(self._year, text)
        if not self._is_first and found < self._last - _HALF_A_YEAR:
            self._year += 1
            found = self._in(self._year, text)
        elif not self._is_first and found > self._last + _HALF_A_YEAR:
            return self._in(self._year - 1, text)
        self._is_first, self._last = False, found
        return found

    @staticmethod
    def _in(year: int, text: str) -> datetime:
        return datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC)


def parse(lines: Iterable[str], year: int, counts: Counter[str] | None = None) -> Iterator[DomainEvent]:
    """The events of a log, in its order; their ids depend on the log alone, so a second run gives the same.

    `counts` counts events as failed and accepted, the rest of the lines as other and unreadable; unreadable lines are
    shown on standard error.
    """
    counts = Counter() if counts is None else counts
    calendar = _Calendar(year)
    for number, whole in enumerate(lines, 1):
        line = whole.rstrip("\r\n")
        if not line:
            continue
        try:
            events = _events(line, number, calendar)
        except ValueError as error:
            counts["unreadable"] += 1
            print(f"line {number}: {error}: {line[:120]!r}", file=sys.stderr)
            continue
        kinds = ["accepted" if isinstance(event, UserLoggedInEvent) else "failed" for event in events]
        counts.update(kinds or ["other"])
        yield from events


def _events(line: str, number: int, calendar: _Calendar) -> list[DomainEvent]:
    found = _LINE.match(line)
    if found is None:
        raise ValueError("no line of a log")
    if found["program"] not in ("sshd", "sshd-session") or not _IS_OUTCOME.match(found["message"]):
        return []
    occurred_at = calendar.time(found["time"])
    repeated = _REPEATED.match(found["message"])
    outcome = _OUTCOME.match(repeated["message"] if repeated else found["message"])
    if outcome is None:
        raise ValueError("an authentication without user, address and port")
    return [
        _event(uuid.uuid5(_NAMESPACE, f"{number} {repetition} {line}"), occurred_at, found, outcome)
        for repetition in range(int(repeated["times"]) if repeated else 1)
    ]


def _event(
    event_id: uuid.UUID, occurred_at: datetime, found: re.Match[str], outcome: re.Match[str]
) -> DomainEvent:
    if outcome["outcome"] == "Accepted":
        return UserLoggedInEvent(
            event_id=event_id,
            occurred_at=occurred_at,
            aggregate_id=outcome["user"],
            username=outcome["user"],
            session_id=f"{found['host']}/{found['pid']}",
            ip_address=outcome["address"],
        )
    return ActionEvaluatedEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        aggregate_id=outcome["address"],
        action="ssh.login",
        decision="DENY",
        violated_law="sshd.authentication",
        rationale=outcome[0],
        context={
            "user": outcome["user"],
            "address": outcome["address"],
            "port": int(outcome["port"]),
            "host": found["host"],
            "pid": int(found["pid"]) if found["pid"] else None,
            "invalid_user": outcome["invalid"] is not None,
            "method": outcome["method"],
        },
    )


def main() -> None:
    """Reads a log, writes JSON lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", nargs="?", default="-", help="the log file, or - for standard input")
    parser.add_argument(
        "--year", type=int, default=datetime.now(UTC).year, help="of its first line (default: this)"
    )
    options = parser.parse_args()
    try:
        source = sys.stdin.buffer if options.log == "-" else Path(options.log).open("rb")  # noqa: SIM115
    except OSError as error:
        parser.error(f"{options.log}: {error.strerror}")
    counts: Counter[str] = Counter()
    with source:
        for event in parse((line.decode("utf-8", "replace") for line in source), options.year, counts):
            sys.stdout.buffer.write(event.to_json() + b"\n")
    told = ", ".join(f"{counts[kind]} {kind}" for kind in ("failed", "accepted", "other", "unreadable"))
    print(f"sshd_audit: {told}", file=sys.stderr)
    sys.exit(1 if counts["unreadable"] else 0)


if __name__ == "__main__":
    main()
