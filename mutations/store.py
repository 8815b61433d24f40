"""Mutants of the event store: appends, histories, feeds, snapshots."""

from mutations.model import Edit, Mutant

_APPEND = "tests/store/test_append.py::"
_FEED = "tests/store/test_feed.py::"
_FAULTS = "tests/store/test_store_faults.py::"
_SNAPSHOTS = "tests/store/test_snapshots_of_aggregates.py::"
_EDITING = "tests/store/test_editing.py::"
_REPOSITORY = "tests/store/test_repository.py::"
_TRACKING = "tests/store/test_tracking.py::"


def _mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/{file}", old, new),), tests)


STORE = [
    _mutant(
        "an append does not compare the expected version",
        "lua/append.lua",
        "if ARGV[i + 1] ~= '-1' and tonumber(ARGV[i + 1]) ~= version then",
        "if false then",
        f"{_REPOSITORY}test_a_conflict_loses_no_new_event_and_writes_nothing[redis]",
    ),
    _mutant(
        "an append writes the events and leaves the references out",
        "lua/append.lua",
        "for _, r in ipairs(references) do redis.call('RPUSH', r[1], r[2]) end",
        "",
        f"{_APPEND}test_an_event_comes_back_whole_and_says_whose_it_is[redis]",
    ),
    _mutant(
        "an append does not note a new type: a feed does not see it",
        "lua/order.lua",
        "reply = redis.pcall('SADD', order.types, string.sub(stream, #order.prefix + 1))",
        "reply = 1",
        f"{_FEED}test_every_type_that_an_append_begins_is_known_with_its_first_entry",
    ),
    _mutant(
        "an append does not look at how far a source is tracked",
        "lua/append.lua",
        "if reached_ms > ms or (reached_ms == ms and reached_seq >= seq) then return 'TRACKED ' .. reached end",
        "",
        f"{_TRACKING}test_events_and_tracking_are_stored_together_and_each_position_once[redis]",
    ),
    _mutant(
        "a repeated save is a conflict although its events are stored",
        "store/commits.py",
        "if positions is None:",
        "if True:",
        f"{_APPEND}test_the_same_append_again_succeeds_and_stores_nothing_twice[redis]",
        f"{_FAULTS}test_an_append_without_an_answer_is_indeterminate_and_may_be_saved_again",
    ),
    _mutant(
        "another event in its place passes for the one that was to be stored",
        "store/commits.py",
        "if not found or found != wanted[len(positions) : len(positions) + len(found)]:",
        "if not found:",
        f"{_REPOSITORY}test_a_conflict_loses_no_new_event_and_writes_nothing[redis]",
    ),
    _mutant(
        "a load leaves out an event that is gone",
        "lua/load.lua",
        "fields = entry and entry[2] or { '', false }",
        "fields = entry and entry[2] or { 'event', '{\"payload\":{}}' }",
        f"{_REPOSITORY}test_a_history_with_a_hole_is_an_error_and_never_a_shorter_history",
    ),
    _mutant(
        "a load does not compare the version that an event says",
        "store/recorder.py",
        "if said != version and said is not None:",
        "if False:",
        f"{_REPOSITORY}test_a_history_with_a_hole_is_an_error_and_never_a_shorter_history",
    ),
    _mutant(
        "a snapshot of another model is used",
        "lua/load.lua",
        "if found[2] ~= ARGV[7] then return 'schema' end",
        "",
        f"{_SNAPSHOTS}test_a_useless_snapshot_is_ignored_logged_and_rewritten[another-schema]",
    ),
    _mutant(
        "a snapshot of another history is used",
        "lua/load.lua",
        "if at < 1 or position(at) ~= found[3] then return 'foreign' end",
        "",
        f"{_SNAPSHOTS}test_a_restored_backup_with_another_history_does_not_use_the_snapshot",
    ),
    _mutant(
        "an older snapshot replaces a newer one",
        "lua/snapshot.lua",
        "if version > wanted or (version == wanted and not replace) then return 'newer' end",
        "",
        f"{_SNAPSHOTS}test_an_older_snapshot_never_replaces_a_newer_one[redis]",
    ),
    _mutant(
        "a feed reads above the horizon",
        "store/feed.py",
        "found = yield ReadStreams(wanted, self._horizon, partition=self._partition)",
        'found = yield ReadStreams(wanted, "9999999999999-0", partition=self._partition)',
        f"{_FEED}test_it_ends_with_a_position_which_is_read[redis]",
    ),
    _mutant(
        "a feed goes on with other types while a page of one is not at its end",
        "store/feed.py",
        "elif name in self._more:",
        "elif False:",
        f"{_FEED}test_it_merges_pages_of_types_of_very_different_lengths[redis]",
    ),
    _mutant(
        "a save forgets the new events before they are stored",
        "repository/steps.py",
        "    appended = yield Append(commits)\n",
        "    for one in changed:\n        one._committed(len(one.get_uncommitted_events()), '')\n    appended = yield Append(commits)\n",
        f"{_REPOSITORY}test_a_failed_save_keeps_the_new_events_for_the_next",
    ),
    _mutant(
        "a block that has looked is repeated",
        "repository/blocking.py",
        "if has_looked or self._attempts < 2:",
        "if False:",
        f"{_EDITING}test_a_block_that_has_looked_is_not_repeated[redis-look_at_state]",
    ),
]
