"""Bad input that needs a server: entries of foreign programs, foreign keys, command lines."""

import io
import json
import logging
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from busredis import Daemon, Publisher, PublishRefused, Router
from busredis.cli import main
from busredis.cli.logs import configure
from busredis.errors import CommandRefused
from tests.bad_input.entries import CALLS, ENTRIES, SHOP, Foreign
from tests.bad_input.model import SECRET, Call
from tests.integration.conftest import FAST


class Terminal(io.TextIOWrapper):
    """A standard stream over memory; `shown` is what was written."""

    def __init__(self, given: bytes = b"", errors: str = "strict") -> None:
        super().__init__(io.BytesIO(given), encoding="utf-8", errors=errors, write_through=True)

    @property
    def shown(self) -> str:
        return self.buffer.getvalue().decode()


@pytest.fixture
def command(server, namespace, inspect, monkeypatch):
    """Runs a command line in this process; what it raises beyond its exit is a traceback that a user would see."""
    monkeypatch.setenv("BUSREDIS_URL", server.url)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)
    monkeypatch.setenv("COLUMNS", "300")
    handlers, level = logging.root.handlers[:], logging.root.level

    def run(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
        out, err = Terminal(), Terminal(errors="backslashreplace")
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(sys, "argv", ["busredis", *arguments]))
            stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
            stack.enter_context(mock.patch.object(sys, "stdin", Terminal(given)))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            ended = stack.enter_context(pytest.raises(SystemExit))
            main()
        return ended.value.code or 0, out.shown, err.shown

    yield run
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.tried)
def test_a_command_that_cannot_work_says_so_in_a_sentence(command, call: Call):
    code, _, error = command(*call.arguments, given=call.given)

    assert call.says in error
    assert code == call.code
    assert len(error) < 2_000


def test_bad_lines_are_rejected_byte_for_byte_whatever_they_are(command, inspect, keys, tmp_path):
    good = b'{"event_type":"ShopSold","payload":{}}\n'
    bad = [
        b"[" * 1_000_000,
        b"\xff\xfe\x00",
        b'{"event_type":"ShopSold","payload":{"cents":1e400}}',
        b"x" * 14_000_000,
    ]
    rejects = tmp_path / "rejects"

    given = good + good.join(line + b"\n" for line in bad) + good
    code, _, error = command(
        "publish", "--jsonl", "-", "--import", SHOP, "--rejects", str(rejects), given=given
    )

    assert (code, "4 bad line(s) rejected" in error) == (1, True)
    assert rejects.read_bytes() == b"".join(line + b"\n" for line in bad)
    assert inspect.xlen(keys.stream("ShopSold")) == 5


def test_an_entry_that_is_no_event_is_a_dead_letter_with_its_bytes_and_the_rest_goes_on(
    server, namespace, inspect, keys, caplog
):
    router, seen = Router(), []

    @router.on(Foreign, name="reads", max_attempts=3)
    async def reads(event: Foreign) -> None:
        seen.append(event.amount)

    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Foreign(amount=1))
        for entry in ENTRIES:
            inspect.xadd(keys.stream("Foreign"), entry.fields)
        publisher.publish(Foreign(amount=2))
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()

    letters = [fields for _, fields in inspect.xrange(keys.dead("reads"))]
    assert [letter[b"reason"].decode() for letter in letters] == [entry.reason for entry in ENTRIES]
    for entry, letter in zip(ENTRIES, letters, strict=True):
        assert entry.says in letter[b"error"].decode(), entry.tried
        assert len(letter[b"error"]) <= 1_100
        assert letter[b"attempts"] == b"1"
        for name, value in entry.fields.items():
            kept = letter[b"entry:" + (name if isinstance(name, bytes) else name.encode())]
            assert kept == (value if isinstance(value, bytes) else value.encode()), entry.tried
    assert seen == [1, 2]
    assert not [letter for letter in letters if SECRET.encode() in letter[b"error"]]
    assert SECRET not in caplog.text


def test_a_letter_can_be_listed_and_shown_whatever_its_entry_is(command, server, namespace, inspect, keys):
    router = Router()
    router.on(Foreign, name="reads")(print)
    inspect.xadd(keys.stream("Foreign"), {b"\xff\xfe": b"\xff"})
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    inspect.xadd(keys.dead("reads"), {"attempts": "many", "last_failure": "9" * 30, "entry_id": "x"})

    code, out, _ = command("dead", "ls", "--json")
    letters = json.loads(out)
    assert (code, letters[0]["fields"]) == (0, {"\\xff\\xfe": "\\xff"})
    assert command("dead", "ls")[0] == 0
    for letter in letters:
        assert command("dead", "show", "reads", letter["id"])[0] == 0


@pytest.mark.parametrize("last", ["18446744073709551615-18446744073709551615", "9999999999999999-0"])
def test_an_entry_of_the_far_future_is_told_and_nothing_is_written(server, namespace, inspect, keys, last):
    inspect.xadd(keys.stream("Foreign"), {"event": "{}"}, id=last)
    with Publisher(server.url, namespace=namespace) as publisher:
        with pytest.raises(PublishRefused, match=r"no id is left|exhausted the last possible ID"):
            publisher.publish(Foreign())

    assert inspect.xlen(keys.stream("Foreign")) == 1


def test_a_stream_that_is_another_type_of_key_stops_publisher_and_daemon_with_a_sentence(
    server, namespace, inspect, keys
):
    inspect.set(keys.stream("Foreign"), "a string")
    router = Router()
    router.on(Foreign, name="reads")(print)

    with Publisher(server.url, namespace=namespace) as publisher:
        with pytest.raises(PublishRefused, match="WRONGTYPE"):
            publisher.publish(Foreign())
    with pytest.raises(CommandRefused, match=r"group 'reads' on .*:stream:Foreign: WRONGTYPE"):
        Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()


HOSTILE = "[/b] [red]\x1b[31m\u202e\r\n2026 ERROR forged: \x07"


def test_what_an_error_says_can_neither_break_a_table_nor_steer_a_terminal(
    command, server, namespace, inspect, keys
):
    router = Router()

    @router.on(Foreign, name="hostile", max_attempts=1)
    async def hostile(event: Foreign) -> None:
        raise ValueError(HOSTILE)

    inspect.xadd(keys.stream("[/b]\x1b"), {"event": HOSTILE})
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(Foreign(note=HOSTILE))
    Daemon(router, url=server.url, namespace=namespace, burst=True, **FAST).run()
    [letter_id] = [id_.decode() for id_, _ in inspect.xrange(keys.dead("hostile"))]

    for arguments in (
        ("dead", "ls"),
        ("dead", "ls", "--json"),
        ("dead", "show", "hostile", letter_id),
        ("dead", "show", "hostile", letter_id, "--json"),
        ("status",),
        ("tail",),
        ("dead", "show", "hostile", HOSTILE),
        ("publish", HOSTILE, "{}"),
        ("status", "--url", f"redis://{HOSTILE}"),
        ("run", HOSTILE),
        ("publish", "X", "{}", "--import", HOSTILE),
    ):
        _, out, error = command(*arguments)
        # JSON is for programs: there, only what steers a terminal is escaped.
        signs = "\x1b\x07\r" if "--json" in arguments or arguments == ("tail",) else "\x1b\x07\r\u202e"
        assert not [sign for sign in signs if sign in out + error], arguments
        assert "\n2026" not in out + error


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_line_of_the_log_cannot_be_forged(log_format, capsys):
    configure(log_format, "INFO")
    try:
        logging.getLogger("busredis.test").error("%s", HOSTILE, extra={"entry_id": HOSTILE})
    finally:
        logging.basicConfig(level="WARNING", handlers=[logging.NullHandler()], force=True)

    error = capsys.readouterr().err
    assert "forged" in error
    assert not [sign for sign in "\x1b\x07\r" if sign in error]
    assert not [line for line in error.splitlines() if line.startswith("2026 ERROR")]
    if log_format == "json":
        assert json.loads(error)["message"] == HOSTILE
