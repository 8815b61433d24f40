from datetime import UTC, datetime, timedelta

import pytest

from busredis import Backoff, DomainEvent, Router
from busredis.backoff import pause_function
from busredis.delivery.model import Outcome, Verdict, judge
from busredis.delivery.waiting import asked_pause_ms, waiting_name
from busredis.errors import (
    DecodeError,
    DuplicateHandler,
    RegistrationError,
    Reject,
    Retry,
    SettingsError,
    Skip,
)
from busredis.events import registry
from busredis.keys import just_before
from busredis.settings import Settings
from busredis.url import checked_url, shown_url


class Vehicle(DomainEvent):
    pass


class Lorry(Vehicle):
    pass


def only(router):
    [handler] = router
    return handler


def test_subjects_are_classes_base_classes_or_all():
    router = Router()
    router.on(Vehicle, name="base")(lambda event: None)
    router.on("*", name="all")(lambda event: None)
    base, every = router

    assert [cls.type_name for cls in base.event_classes()] == ["Lorry", "Vehicle"]
    assert len(every.event_classes()) == len(list(registry))


def test_the_name_is_the_functions_unless_given_and_the_function_stays_callable():
    router = Router()

    @router.on(Vehicle)
    def send_mail(event):
        return "called"

    assert only(router).name == "send-mail"
    assert send_mail(None) == "called"


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda event: None, False),
        (lambda event, ctx: None, True),
        (lambda event, context: None, True),
        (lambda event, other=3: None, False),
    ],
)
def test_a_handler_is_called_with_what_it_takes(function, takes):
    router = Router()
    router.on(Vehicle, name="x")(function)

    assert only(router).takes_context is takes


@pytest.mark.parametrize(
    ("subjects", "options", "function", "message"),
    [
        ((), {}, lambda event: None, "names no event"),
        ((int,), {}, lambda event: None, "no event class"),
        (("Vehicle",), {}, lambda event: None, "no event class"),
        ((Vehicle,), {"name": "a b"}, lambda event: None, "not a name"),
        ((Vehicle,), {"name": "waiting"}, lambda event: None, "busredis' own"),
        ((Vehicle,), {"max_attempts": 0}, lambda event: None, "max_attempts is a whole number"),
        ((Vehicle,), {"concurrency": 1.5}, lambda event: None, "concurrency is a whole number"),
        ((Vehicle,), {"timeout": 0}, lambda event: None, "timeout is 0:00:00"),
        ((Vehicle,), {"start": "soon"}, lambda event: None, "start is 'beginning'"),
        ((Vehicle,), {"start": datetime(2026, 1, 1)}, lambda event: None, "no time zone"),
        ((Vehicle,), {"backoff": -1}, lambda event: None, "cannot be negative"),
        ((Vehicle,), {"backoff": []}, lambda event: None, "empty list"),
        ((Vehicle,), {}, lambda: None, r"called with \(event\)"),
        ((Vehicle,), {}, lambda a, b, c: None, r"called with \(event\)"),
        ((Vehicle,), {}, "text", "no function"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_registered(subjects, options, function, message):
    with pytest.raises(RegistrationError, match=message):
        Router().on(*subjects, **({"name": "x"} | options))(function)


def test_two_handlers_cannot_share_a_name_but_a_router_may_be_included_twice():
    one, other, merged = Router(), Router(), Router()
    one.on(Vehicle, name="same")(lambda event: None)
    other.on(Vehicle, name="same")(lambda event: None)
    merged.include(one)
    merged.include(one)

    with pytest.raises(DuplicateHandler, match="'same'"):
        merged.include(other)


def test_a_group_starts_at_the_time_or_id_that_is_named():
    router = Router()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    starts = ["beginning", "now", moment, "5-3", "5-0", "0-0"]
    for index, start in enumerate(starts):
        router.on(Vehicle, name=f"g{index}", start=start)(lambda event: None)

    ms = int(moment.timestamp() * 1000)
    expected = ["0-0", "$", f"{ms - 1}-{2**64 - 1}", "5-2", f"4-{2**64 - 1}", "0-0"]
    assert [handler.start_id() for handler in router] == expected
    assert just_before("7-1") == "7-0"


def test_backoff_doubles_to_its_cap_with_full_jitter_that_every_daemon_computes_alike():
    plain = Backoff(timedelta(seconds=1), timedelta(seconds=10), jitter=False)
    assert [plain.pause(n, "e").total_seconds() for n in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 8, 10, 10]

    jittered = Backoff(timedelta(seconds=1), timedelta(seconds=10))
    pauses = [jittered.pause(3, f"entry {n}").total_seconds() for n in range(2_000)]
    assert pauses == [jittered.pause(3, f"entry {n}").total_seconds() for n in range(2_000)]
    assert 0 < min(pauses) < 0.1
    assert 3.9 < max(pauses) <= 4
    assert 1.8 < sum(pauses) / len(pauses) < 2.2


def test_backoff_may_be_a_number_a_list_or_a_function():
    assert pause_function(2)(9, "e") == timedelta(seconds=2)
    assert [pause_function([1, timedelta(seconds=5)])(n, "e").seconds for n in (1, 2, 3)] == [1, 5, 5]
    assert pause_function(lambda attempt: timedelta(seconds=attempt))(7, "e").seconds == 7


@pytest.mark.parametrize(
    ("error", "attempt", "verdict", "reason"),
    [
        (ValueError("x"), 1, Verdict.RETRY, "failed"),
        (ValueError("x"), 3, Verdict.DEAD_LETTER, "failed"),
        (Retry(), 3, Verdict.DEAD_LETTER, "retry"),
        (Retry(counts=False), 3, Verdict.RETRY, "retry"),
        (Reject("no"), 1, Verdict.DEAD_LETTER, "rejected"),
        (Skip(), 1, Verdict.ACK, "skipped"),
        (DecodeError("json", "x"), 1, Verdict.DEAD_LETTER, "json"),
    ],
)
def test_how_an_attempt_ends_depends_on_what_was_raised(error, attempt, verdict, reason):
    outcome = judge(error, attempt, max_attempts=3)

    assert (outcome.verdict, outcome.reason) == (verdict, reason)


def test_an_error_whose_message_is_huge_or_broken_is_bounded():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert judge(Broken(), 1, 2).error == "Broken: (its message cannot be read)"
    assert len(judge(ValueError("x" * 10_000_000), 1, 2).error) < 1_100
    assert judge(ValueError("\ud800"), 1, 2).error == "ValueError: ?"


@pytest.mark.parametrize(
    ("after", "name"), [(None, "waiting"), (0, "waiting-0"), (30, "waiting-30000"), (1.2345, "waiting-1300")]
)
def test_a_pause_that_was_asked_for_is_in_the_name_of_the_waiting_consumer_and_never_shorter(after, name):
    pause = None if after is None else timedelta(seconds=after)

    assert waiting_name(Outcome(Verdict.RETRY, after=pause)) == name
    assert asked_pause_ms(name) == (None if after is None else int(name.split("-")[1]))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", "no scheme"),
        ("http://h", "no scheme"),
        ("redis://:secret@h:99999/0", "a port is a number from 1 to 65535"),
        ("redis://:secret@h/abc", "the database is a number"),
        ("redis://h/0?zzz=1", "unknown option 'zzz'"),
        ("redis://:p@ss:w/rd@h:x/0", "percent-encode"),
        ("redis:///0", "no host"),
        ("unix://", "names a socket"),
    ],
)
def test_a_url_that_cannot_work_says_why_and_never_shows_the_password(url, message):
    with pytest.raises(SettingsError, match=message) as caught:
        checked_url(url)

    assert "secret" not in str(caught.value)
    assert "secret" not in shown_url(url)


def test_a_url_of_valkey_is_understood():
    assert checked_url("valkey://h:1/2") == "redis://h:1/2"


def test_settings_come_from_variables_and_errors_name_the_field(monkeypatch):
    monkeypatch.setenv("BUSREDIS_LEASE", "45")
    monkeypatch.setenv("REDIS_URL", "redis://second/0")
    monkeypatch.delenv("BUSREDIS_URL", raising=False)
    assert Settings.load().lease == timedelta(seconds=45)
    for text, seconds in (("500ms", 0.5), ("2m", 120), ("1.5 s", 1.5), ("PT3S", 3)):
        monkeypatch.setenv("BUSREDIS_GRACE", text)
        assert Settings.load().grace.total_seconds() == seconds
    assert Settings.load().url == "redis://second/0"
    monkeypatch.setenv("BUSREDIS_URL", "redis://first/0")
    assert Settings.load().url == "redis://first/0"

    for options, message in [
        ({"namespace": "a b"}, "namespace"),
        ({"lease": timedelta(0)}, "lease must be longer"),
        ({"sweep": timedelta(minutes=5)}, "must not be longer than lease"),
        ({"nonsense": 1}, "nonsense"),
        ({"prefetch": 0}, "prefetch"),
    ]:
        with pytest.raises(SettingsError, match=message):
            Settings.load(**options)
