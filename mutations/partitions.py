"""Mutants of what goes over all partitions: the archive, replays, groups, retention."""

from mutations.model import Edit, Mutant

_ARCHIVE = "tests/partitions/test_archive.py::"
_OPERATIONS = "tests/partitions/test_operations.py::"
_REPLAYS = "tests/partitions/test_replays.py::"
_SHADOWS = "tests/partitions/test_shadows.py::"


def _mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/{file}", old, new),), tests)


PARTITIONS = [
    _mutant(
        "a history in any partition is looked for in the archive of the first",
        "store/tiers.py",
        "archives.of(recorder.keys_of(operation.aggregate), len(parts))",
        "archives.of(parts[0], len(parts))",
        f"{_ARCHIVE}test_histories_and_feeds_go_through_the_archive_of_their_partition",
    ),
    _mutant(
        "a feed of any partition goes through the archive of the first",
        "store/tiers.py",
        "archives.of(parts[operation.partition], len(parts))",
        "archives.of(parts[0], len(parts))",
        f"{_ARCHIVE}test_histories_and_feeds_go_through_the_archive_of_their_partition",
    ),
    _mutant(
        "an archive of another number of partitions is written to",
        "cold/archives.py",
        "if found not in (None, len(partitions)):",
        "if False:",
        f"{_ARCHIVE}test_an_archive_of_another_number_of_partitions_is_refused",
    ),
    _mutant(
        "a partition without old entries has no manifest that could be missed",
        "archiver.py",
        "            self._begin()",
        "            pass",
        f"{_ARCHIVE}test_a_partition_without_entries_has_a_manifest_too_and_is_missed",
    ),
    _mutant(
        "a partition that fails keeps the others from their turn",
        "partitions.py",
        "            self._problems[keys.partition or 0] = error",
        "            raise",
        f"{_ARCHIVE}test_a_partition_that_fails_keeps_no_other_from_being_archived_and_a_second_run_finishes",
        f"{_OPERATIONS}test_a_retention_that_was_set_in_part_is_said_to_differ_and_set_by_the_same_again",
    ),
    _mutant(
        "a group is moved where it can be, and refused elsewhere",
        "replay.py",
        "for keys in places if len(bounds) > 1 else ():",
        "for keys in ():",
        f"{_REPLAYS}test_what_is_refused_in_one_partition_is_done_in_none",
    ),
    _mutant(
        "a shadow writes to the read models in use of all partitions but the first",
        "keys.py",
        "return self.at(key).shadow(self.shadow_name)",
        "return self.at(key)",
        f"{_SHADOWS}test_a_shadow_keeps_order_and_concurrency_and_never_writes_to_a_read_model_in_use",
    ),
    _mutant(
        "a switch leaves the shadow, which then goes on with no read models",
        "replay.py",
        "replace(switch, left_over=left_over)",
        "switch",
        f"{_SHADOWS}test_killed_right_after_a_partition_was_switched_the_same_again_rebuilds_it_whole",
        "tests/replay/test_shadow.py::test_killed_right_after_the_switch_a_second_rebuild_begins_anew",
    ),
    _mutant(
        "a switch does not look at what was trimmed behind the shadow",
        "lua/rewind.lua",
        "if trimmed and had ~= '' and below(had, trimmed) then",
        "if trimmed and ARGV[2] ~= 'done' and below(position, trimmed) then",
        f"{_SHADOWS}test_entries_that_were_trimmed_before_the_switch_are_not_left_out",
        "tests/replay/test_shadow.py::test_entries_that_were_trimmed_before_the_switch_are_not_left_out",
    ),
    _mutant(
        "a part of a read model that the shadow does not write stays beside the new parts",
        "replay.py",
        "if len(shadows) > 1:",
        "if False:",
        f"{_SHADOWS}test_a_part_that_the_new_code_does_not_write_goes_with_the_others",
    ),
    _mutant(
        "a group is removed although it is seen in a partition",
        "groups.py",
        "if now and not abandoned(now, least):",
        "if False:",
        f"{_OPERATIONS}test_a_group_that_is_seen_in_one_partition_is_kept_in_all",
    ),
    _mutant(
        "a group that comes back is removed from the partitions that are left",
        "groups.py",
        "        break  # where it is",
        "        pass  # where it is",
        f"{_OPERATIONS}test_a_group_that_comes_back_while_it_is_removed_is_said_and_left_where_it_is",
    ),
]
