"""Keys: their spelling, one hash tag, ids that compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busredis.errors import SettingsError
from busredis.keys import Keys, check_name, just_before, parse_id

ids = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(lambda pair: f"{pair[0]}-{pair[1]}")


def every_key(keys):
    return [
        keys.stream("Paid"),
        keys.dead("mail"),
        keys.once("token"),
        keys.clock,
        keys.checkpoint("mail"),
        keys.failures("mail"),
        keys.stats("mail"),
        keys.owner("mail"),
        keys.free("mail"),
        keys.parked("mail"),
        keys.groups,
        keys.archive,
        keys.personal,
        keys.replay("mail"),
        keys.shadow("new").stream("Paid"),
        keys.shadow("new").view("paid"),
        keys.retention,
        keys.trimmed,
        keys.schedule,
        keys.scheduled,
        keys.lease("retention"),
        keys.view("denials:eve {x} *\n"),
    ]


def test_keys_are_spelled_as_documented():
    keys = Keys("busredis")

    assert keys.stream("UserLoggedInEvent") == "{busredis}:stream:UserLoggedInEvent"
    assert keys.dead("last-login") == "{busredis}:dead:last-login"
    assert keys.view("last-login:ada") == "{busredis}:view:last-login:ada"
    assert Keys("busredis", 3).stream("Paid") == "{busredis:3}:stream:Paid"


@pytest.mark.parametrize("partition", [None, 0, 7])
def test_all_keys_of_a_partition_share_one_hash_tag(partition):
    keys = Keys("busredis", partition)

    tags = {key[key.index("{") + 1 : key.index("}")] for key in every_key(keys)}

    assert tags == {"busredis" if partition is None else f"busredis:{partition}"}


def test_every_key_is_known_and_those_of_others_are_not():
    keys = Keys("busredis")

    # A view may hold any characters, as user names come from outside; so `known` must not stop at a newline.
    assert [key for key in every_key(keys) if not keys.known(key)] == []
    for foreign in ("busredis:stream:Paid", "{other}:stream:Paid", "{busredis}:nope:x", "{busredis}:stream:"):
        assert not keys.known(foreign)


def test_a_stream_tells_its_event_type():
    keys = Keys("busredis", 1)
    assert keys.event_type(keys.stream("billing.paid")) == "billing.paid"


def test_scan_patterns_escape_what_a_namespace_may_hold():
    assert Keys("a*b[c]?").every_stream == r"{a\*b\[c\]\?}:stream:*"


@pytest.mark.parametrize("name", ["mail", "last-login", "a.b_c@d", "0", "x" * 128])
def test_names_of_groups_are_letters_digits_and_a_few_signs(name):
    assert check_name("group", name) == name


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a\n", "x" * 129, "ä", "waiting", "waiting-5"])
def test_other_names_are_refused_at_once(name):
    with pytest.raises(SettingsError, match="group"):
        check_name("group", name)


@given(ids)
def test_just_before_is_the_next_lower_id(entry_id):
    ms, seq = parse_id(entry_id)
    lower = parse_id(just_before(entry_id))

    if (ms, seq) == (0, 0):
        assert lower == (0, 0)
    else:
        assert lower[0] * 2**64 + lower[1] == ms * 2**64 + seq - 1


def test_an_id_without_a_sequence_is_its_first():
    assert parse_id("5") == (5, 0)
    assert just_before("5") == f"4-{2**64 - 1}"
