"""OpenSSH's log as events: python examples/sshd_audit.py auth.log | busredis publish --jsonl -

Each failed authentication ("Failed password for ...", "Failed none for ...") becomes an ActionEvaluatedEvent with
decision DENY, each "Accepted ... for ..." a UserLoggedInEvent. "message repeated N times: [ ... ]" counts N times.
Everything else in the log is no authentication and is passed over.
"""

import argparse
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from busredis import DomainEvent
from busredis.catalog import ActionEvaluatedEvent, UserLoggedInEvent

_LINE = re.compile(r"(?P<time>\w{3} [ \d]\d \d\d:\d\d:\d\d) (?P<host>\S+) sshd(?:\[(?P<pid>\d+)\])?: (?P<message>.*)")
_REPEATED = re.compile(r"message repeated (?P<times>\d+) times: \[ ?(?P<message>.*)\]$")
# The user may be empty or hold spaces, so the address is found from the end.
_OUTCOME = re.compile(
    r"(?P<outcome>Failed|Accepted) (?P<method>\S+) for (?P<invalid>invalid user )?(?P<user>.*) "
    r"from (?P<address>\S+) port (?P<port>\d+)(?: ssh\d?)?.*$"
)
_NAMESPACE = uuid.UUID("6f0b9a5e-52c0-5b6e-8c0b-7d1f4a3e9b10")


def parse(lines: Iterable[str], year: int) -> Iterator[DomainEvent]:
    """The events of a log, in its order; their ids depend on the log alone, so a second run gives the same."""
    for number, line in enumerate(lines, 1):
        found = _LINE.match(line.rstrip("\n"))
        if found is None:
            continue
        message, times = found["message"], 1
        if repeated := _REPEATED.match(message):
            message, times = repeated["message"], int(repeated["times"])
        outcome = _OUTCOME.match(message)
        if outcome is None:
            continue
        for repetition in range(times):
            event_id = uuid.uuid5(_NAMESPACE, f"{number} {repetition} {line.rstrip()}")
            yield _event(event_id, found, outcome, year)


def _event(event_id: uuid.UUID, found: re.Match[str], outcome: re.Match[str], year: int) -> DomainEvent:
    occurred_at = datetime.strptime(f"{year} {found['time']}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC)
    if outcome["outcome"] == "Accepted":
        return UserLoggedInEvent(
            event_id=event_id,
            occurred_at=occurred_at,
            aggregate_id=outcome["user"],
            username=outcome["user"],
            session_id=f"{found['host']}-{found['pid']}",
            ip_address=outcome["address"],
        )
    context = {"user": outcome["user"], "address": outcome["address"], "port": int(outcome["port"])}
    context |= {"host": found["host"], "pid": found["pid"], "invalid_user": outcome["invalid"] is not None}
    return ActionEvaluatedEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        aggregate_id=outcome["address"],
        action="ssh.login",
        decision="DENY",
        violated_law="sshd.authentication",
        rationale=outcome[0],
        context=context,
    )


def main() -> None:
    """Reads a log, writes JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", default="-", help="the log file, or - for standard input")
    parser.add_argument("--year", type=int, default=datetime.now(UTC).year, help="sshd writes none (default: this one)")
    options = parser.parse_args()
    try:
        source = sys.stdin if options.log == "-" else open(options.log, encoding="utf-8", errors="replace")  # noqa: SIM115, PTH123
    except OSError as error:
        parser.error(f"{options.log}: {error.strerror}")
    count = 0
    with source:
        for count, event in enumerate(parse(source, options.year), 1):  # noqa: B007 - counted for the last line
            sys.stdout.buffer.write(event.to_json() + b"\n")
    print(f"{count} authentications", file=sys.stderr)


if __name__ == "__main__":
    main()
