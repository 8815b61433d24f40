"""Mutants of what is promised within a time, after a time, or in turns."""

from mutations.model import FENCES, PUBLISHER, SUSPECTS, Edit, Mutant

_LOST = "tests/integration/test_foreign_entries.py::test_a_lost_group_is_restored_and_nothing_open_is_skipped"
_SEEN = (
    "tests/integration/test_effects.py::test_seen_finds_what_was_published_twice_and_forgets_after_the_window"
)


def _edit(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/{file}", old, new),), tests)


TURNS = [
    _edit(
        "renewal does not reset the idle time",
        "lua/renew.lua",
        "    redis.call(unpack(command))\n",
        "",
        f"{FENCES}test_a_renewal_counts_no_attempt_and_resets_the_idle_time",
    ),
    _edit(
        "what silent daemons held is run in one go, whatever falls due meanwhile",
        "daemon/reclaimer.py",
        "if self._stopping.is_set() or time.monotonic() > until:",
        "if self._stopping.is_set():",
        f"{SUSPECTS}test_a_retry_that_is_due_does_not_wait_behind_what_a_dead_daemon_left",
    ),
    _edit(
        "a key with a long queue keeps all of it in hand",
        "daemon/hand.py",
        "lane.beyond(self._most_of_key)",
        "lane.beyond(10_000)",
        "tests/integration/test_ordered_keys.py"
        "::test_a_key_with_a_long_queue_does_not_keep_others_from_their_turn",
    ),
    _edit(
        "the token of an owner is only one more than the last that is known",
        "lua/own.lua",
        "token = math.max(token + 1, now)",
        "token = token + 1",
        "tests/integration/test_ordered_owners.py::test_the_token_rises_also_after_everything_was_flushed",
    ),
    _edit(
        "a checkpoint passes what is open",
        "lua/sweep.lua",
        "reached = lowest and before(lowest)",
        "reached = nil",
        _LOST,
    ),
    _edit(
        "a lost group is restored before what its checkpoint says",
        "delivery/pending.py",
        "known.get(stream, first)",
        '"0-0"',
        _LOST,
    ),
    _edit(
        "what was seen is never forgotten",
        "delivery/context.py",
        '        self.effects.note("PEXPIRE", key, max(1, int(window.total_seconds() * 1000)))\n',
        "",
        _SEEN,
    ),
    _edit(
        "what was seen is forgotten before its window ends",
        "delivery/context.py",
        "int(window.total_seconds() * 1000)",
        "int(window.total_seconds() * 900)",
        _SEEN,
    ),
    _edit(
        "the next due event is said to be due later",
        "lua/due.lua",
        "math.max(0, soonest - now)",
        "math.max(0, soonest - now + 50)",
        "tests/integration/test_schedule.py"
        "::test_one_daemon_looks_often_until_it_stops_and_the_others_look_seldom",
    ),
    _edit(
        "a publisher takes longer than its timeout",
        "append.py",
        "time.monotonic() + self._timeout - spent",
        "time.monotonic() + self._timeout * 1.5 - spent",
        f"{PUBLISHER}test_without_a_server_a_publish_is_refused_in_time",
        f"{PUBLISHER}test_an_append_without_a_server_is_refused_in_time_also_by_a_publisher_that_had_one",
    ),
    _edit(
        "a read of the store takes longer than its timeout",
        "store/recorder.py",
        "left < self._pause:",
        "left < -1:",
        "tests/store/test_store_faults.py::test_a_store_that_cannot_be_reached_refuses_in_time",
    ),
    _edit(
        "a node of a cluster that is not there is asked again at once",
        "cluster.py",
        "in dict.fromkeys([*known, *self._seeds]):",
        "in [*known, *self._seeds, *self._seeds]:",
        "tests/partitions/test_cluster.py::test_a_node_that_is_not_there_is_told_in_time",
    ),
]
