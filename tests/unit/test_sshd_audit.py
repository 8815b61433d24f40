"""The log of an OpenSSH server as events; what it counts agrees with grep, sort and uniq."""

import io
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from busredis.catalog import ActionEvaluatedEvent, UserLoggedInEvent
from busredis.events import DomainEvent
from examples import sshd_audit
from examples.sshd_audit import parse

SAMPLE = Path(sshd_audit.__file__).with_name("sample_sshd.log")


def failed(message, *, stamp="Dec 31 00:00:00"):
    return f"{stamp} gate sshd[1]: {message}"


def read(*lines, year=2025):
    counts = Counter()
    return list(parse(lines, year, counts)), counts


def sample_events():
    return list(parse(SAMPLE.read_text().splitlines(), 2025))


def by_hand():
    """Failed authentications of the sample by address, counted as grep, sed, sort and uniq would."""
    found = Counter()
    for line in SAMPLE.read_text().splitlines():
        if re.search(r"sshd\S*: (message repeated \d+ times: \[ )?Failed \S+ for ", line):
            times = re.search(r"message repeated (\d+) times", line)
            found[re.findall(r"from (\S+) port", line)[-1]] += int(times[1]) if times else 1
    return found


def test_failures_of_the_sample_agree_with_a_count_by_hand():
    denied = [event for event in sample_events() if isinstance(event, ActionEvaluatedEvent)]

    assert Counter(event.context["address"] for event in denied) == by_hand()
    assert by_hand().total() == 19
    assert by_hand().most_common(2) == [("192.0.2.10", 8), ("198.51.100.7", 6)]


def test_logins_of_the_sample_are_its_accepted_lines():
    logins = [event for event in sample_events() if isinstance(event, UserLoggedInEvent)]

    assert len(logins) == len(re.findall(r"sshd\S*: Accepted ", SAMPLE.read_text()))
    assert [(e.username, e.ip_address, e.session_id) for e in logins] == [
        ("ada", "198.51.100.30", "gate/4117"),
        ("git", "2001:db8::5", "gate/4118"),
    ]


def test_every_line_of_the_sample_is_accounted_for():
    lines = SAMPLE.read_text().splitlines()
    _, counts = read(*lines)

    repeated = sum(int(n) - 1 for n in re.findall(r"message repeated (\d+) times", SAMPLE.read_text()))
    assert counts["failed"] + counts["accepted"] - repeated + counts["other"] == len(lines)
    assert counts["unreadable"] == 0


def test_a_failure_says_who_from_where_and_why():
    message = "Failed password for invalid user bob from 192.0.2.1 port 22 ssh2"
    (event,), _ = read(failed(message))

    assert (event.action, event.decision, event.violated_law) == ("ssh.login", "DENY", "sshd.authentication")
    assert (event.rationale, event.aggregate_id) == (message, "192.0.2.1")
    assert event.occurred_at == datetime(2025, 12, 31, tzinfo=UTC)
    assert event.context == {
        "user": "bob",
        "address": "192.0.2.1",
        "port": 22,
        "host": "gate",
        "pid": 1,
        "invalid_user": True,
        "method": "password",
    }


@pytest.mark.parametrize(
    ("given", "user", "invalid"),
    [
        ("root", "root", False),
        ("invalid user bob", "bob", True),
        ("invalid user ", "", True),
        ("", "", False),
        ("invalid user  0101", " 0101", True),
        ("invalid user two words", "two words", True),
        (
            "invalid user root from 192.0.2.99 port 1 ssh2",
            "root from 192.0.2.99 port 1 ssh2",
            True,
        ),
        (
            "invalid user a from 192.0.2.99 port 1 ssh2: b",
            "a from 192.0.2.99 port 1 ssh2: b",
            True,
        ),
    ],
)
def test_a_user_name_may_hold_anything_and_cannot_forge_an_address(given, user, invalid):
    (event,), _ = read(failed(f"Failed password for {given} from 198.51.100.7 port 2 ssh2"))

    assert event.context["user"] == user
    assert event.context["address"] == "198.51.100.7"
    assert event.context["invalid_user"] is invalid


def test_a_repeated_message_counts_as_often_as_it_says_each_time_with_an_id_of_its_own():
    events, counts = read(
        failed("message repeated 5 times: [ Failed password for root from 192.0.2.1 port 2 ssh2]")
    )

    assert len({event.event_id for event in events}) == counts["failed"] == 5
    assert {event.rationale for event in events} == {"Failed password for root from 192.0.2.1 port 2 ssh2"}


def test_the_same_log_gives_the_same_events_and_equal_lines_give_different_ones():
    line = failed("Failed password for root from 192.0.2.1 port 2 ssh2")
    events, _ = read(line, line)

    assert events == read(line + "\r\n", line + "\n")[0]
    assert events[0].event_id != events[1].event_id


def test_the_year_rises_at_new_year_and_a_late_line_keeps_the_old_one():
    message = "Failed password for root from 192.0.2.1 port 2 ssh2"
    stamps = ["Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01"]
    events, _ = read(*(failed(message, stamp=stamp) for stamp in stamps))

    assert [event.occurred_at.year for event in events] == [2025, 2026, 2025, 2026]


def test_times_with_a_year_and_zone_are_taken_as_they_are():
    message = "Failed password for root from 192.0.2.1 port 2 ssh2"
    (event,), _ = read(failed(message, stamp="2024-02-29T01:00:00.5+01:00"), year=1999)

    assert event.occurred_at == datetime(2024, 2, 29, 0, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        "no log line at all",
        failed("Failed password for root from nowhere"),
        failed("Failed password for root from 192.0.2.1 port 2 ssh2", stamp="Feb 30 00:00:00"),
        failed("Failed password for root from 192.0.2.1 port 2 ssh2", stamp="Foo 10 00:00:00"),
        failed("Failed password for root from 192.0.2.1 port 2 ssh2", stamp="Dec 10 25:00:00"),
        failed("message repeated 2 times: [ Accepted password for root]"),
        failed("message repeated 99999999999 times: [ Failed none for root from 192.0.2.1 port 2 ssh2]"),
    ],
)
def test_a_line_that_cannot_be_read_is_shown_and_counted_and_the_rest_goes_on(line, capsys):
    good = failed("Failed password for root from 192.0.2.1 port 2 ssh2")
    events, counts = read(good, line, good)

    assert len(events) == 2
    assert counts["unreadable"] == 1
    assert capsys.readouterr().err.startswith("line 2: ")


def test_what_sshd_says_besides_its_results_is_not_counted_again():
    events, counts = read(
        failed("Invalid user bob from 192.0.2.1"),
        failed("PAM 5 more authentication failures; logname= uid=0 rhost=192.0.2.1  user=root"),
        failed("pam_unix(sshd:auth): authentication failure; rhost=192.0.2.1  user=root"),
        failed(
            "error: maximum authentication attempts exceeded for root from 192.0.2.1 port 2 ssh2 [preauth]"
        ),
        "Dec 31 00:00:00 gate cron[1]: Failed password for root from 192.0.2.1 port 2 ssh2",
        "",
    )

    assert (events, counts["other"]) == ([], 5)


def test_the_program_writes_a_line_for_each_event_that_from_dict_reads():
    done = subprocess.run(
        [sys.executable, sshd_audit.__file__, "-", "--year", "2025"],
        input=SAMPLE.read_bytes() + b"\xff is no UTF-8\n",
        capture_output=True,
        check=False,
        cwd=SAMPLE.parent.parent,
        env={"PYTHONPATH": str(SAMPLE.parent.parent)},
    )

    events = [DomainEvent.from_dict(orjson.loads(line)) for line in io.BytesIO(done.stdout)]
    assert events == sample_events()
    assert done.returncode == 1
    assert (
        done.stderr.decode().splitlines()[-1] == "sshd_audit: 19 failed, 2 accepted, 14 other, 1 unreadable"
    )
