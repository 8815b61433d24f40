"""The checker of the fault suite: a good history passes, and each breach of a promise is named."""

from dataclasses import replace

import pytest

from faults.events import is_hopeless
from faults.history import Publish
from faults.report import Dead, Found
from tests.unit.story import GROUPS, HOPELESS, SECOND, Story


@pytest.fixture
def story() -> Story:
    numbers = [10, 11, 12, HOPELESS, 14, 15]
    ids = [f"{100 + n}-0" for n in numbers]
    told = Story(found=Found(list(zip(ids, numbers, strict=True))))
    told.publishes = [
        Publish("p", 10, 3, 1 * SECOND, "ok", 2 * SECOND, ids[:3]),
        Publish("p", 13, 3, 3 * SECOND, "ok", 4 * SECOND, ids[3:]),
    ]
    for group in GROUPS:
        for number in numbers:
            if not is_hopeless(group, number):
                told.add_run(group, number, 1, number)
    for attempt in (1, 2, 3):
        told.add_run("failing", HOPELESS, attempt, HOPELESS + attempt * 0.5 - 0.5, "failed")
    told.found.effects = {group: {10: 1, 12: 1, 14: 1} for group in GROUPS}
    told.found.dead = [Dead("failing", HOPELESS, "113-0", "failed")]
    return told


def test_a_history_in_which_all_went_well_has_no_breach(story):
    report = story.judge()

    assert report.breaches == []
    assert (report.confirmed, report.handled, report.dead, report.again, report.lost) == (6, 11, 1, 0, 0)


def test_an_effect_that_was_applied_twice_is_named_unless_its_group_was_lost(story):
    story.found.effects["steady"][12] = 2
    assert story.rules() == {"effect twice"}
    story.add_fault("resets")
    assert story.rules() == set()
    assert (story.judge().effects, story.judge().effects_again) == (7, 1)


def test_an_effect_that_is_missing_is_named_unless_its_event_is_pending_or_dead(story):
    del story.found.effects["steady"][12]
    assert story.rules() == {"effect missing"}
    story.found.unfinished = {"steady": {"112-0"}}
    assert story.rules() == {"unfinished"}


def test_an_effect_of_an_event_that_nobody_finished_is_named(story):
    story.found.effects["steady"][11] = 1
    story.found.effects["failing"][99] = 1
    assert story.rules() == {"effect without a run"}


def test_a_confirmed_event_that_is_not_in_the_stream_is_lost(story):
    del story.found.entries[5]

    report = story.judge()
    assert "lost" in {breach.rule for breach in report.breaches}
    assert report.lost == 1


def test_what_a_command_erased_is_counted_and_not_called_lost(story):
    del story.found.entries[:3]
    story.add_fault("rewinds", began=2.5, ended=2.6, erases_since=0)

    report = story.judge()
    assert report.breaches == []
    assert report.erased == 3


def test_what_was_confirmed_after_the_erasing_is_lost_all_the_same(story):
    del story.found.entries[3:]
    story.add_fault("rewinds", began=2.5, ended=2.6, erases_since=0)

    assert "lost" in story.rules()


def test_what_was_confirmed_before_the_window_of_a_fault_is_lost_all_the_same(story):
    del story.found.entries[:3]
    story.add_fault("rewinds", began=3, ended=20, erases_since=2.5)

    assert "lost" in story.rules()


def test_an_entry_that_no_one_ran_and_that_is_not_pending_was_acknowledged_without_having_run(story):
    story.runs.remove(story.run_of("steady", 11))

    assert story.rules() == {"acknowledged without having run"}


def test_a_run_of_which_only_the_start_is_known_counts_as_not_handled(story):
    story.run_of("steady", 11).end = ""

    assert story.rules() == {"acknowledged without having run"}


def test_what_is_still_pending_at_the_end_is_unfinished(story):
    story.runs.remove(story.run_of("steady", 11))
    story.found.unfinished = {"steady": {"111-0"}}

    assert story.rules() == {"unfinished"}


def test_an_event_that_nobody_published_is_a_phantom(story):
    story.found.entries.append(("200-0", 99))
    for group in GROUPS:
        story.add_run(group, 99, 1, 20)

    assert story.rules() == {"phantom"}


def test_a_run_for_another_entry_than_the_streams_is_a_phantom(story):
    story.run_of("steady", 11).entry_id = "112-0"

    assert "phantom" in story.rules()


def test_a_run_for_an_entry_that_is_gone_needs_a_fault_that_rewinds(story):
    story.run_of("steady", 11).entry_id = "105-0"
    assert "phantom" in story.rules()

    story.ordered = ()
    story.add_fault("rewinds")
    assert story.rules() == set()


def test_an_event_in_two_entries_is_stored_twice(story):
    story.found.entries.append(("200-0", 15))

    assert story.rules() == {"stored twice"}


def test_what_was_refused_must_not_be_stored(story):
    story.publishes[0] = replace(story.publishes[0], outcome="fail", ids=())

    assert story.rules() == {"refused but present"}


def test_what_has_no_known_outcome_may_be_stored_or_not(story):
    story.publishes[0] = replace(story.publishes[0], outcome="unknown", answered_at=0, ids=())
    assert story.rules() == set()

    del story.found.entries[:3]
    story.runs = [run for run in story.runs if run.number > 12]
    story.found.effects = {group: {14: 1} for group in GROUPS}
    assert story.rules() == set()


def test_an_append_of_which_a_part_is_stored_is_torn(story):
    story.publishes[0] = replace(story.publishes[0], outcome="unknown", answered_at=0, ids=())
    del story.found.entries[2]
    story.runs = [run for run in story.runs if run.number != 12]
    story.found.effects = {group: {10: 1, 14: 1} for group in GROUPS}

    assert story.rules() == {"torn"}


def test_an_event_under_another_id_than_was_confirmed_is_misplaced(story):
    story.publishes[0].ids = ["110-0", "111-0", "112-7"]

    assert story.rules() == {"misplaced"}


def test_ids_of_one_publisher_rise(story):
    story.publishes.reverse()

    assert story.rules() == {"ids that fall"}


def test_a_second_run_needs_a_fault_near_it_that_explains_it(story):
    story.add_run("steady", 11, 2, 16)
    assert story.rules() == {"repeated without a cause"}

    story.add_fault("refuses")
    assert story.rules() == {"repeated without a cause"}

    story.add_fault("repeats", began=30, ended=31)
    assert story.rules() == {"repeated without a cause"}

    story.add_fault("repeats", began=15, ended=15)
    report = story.judge()
    assert report.breaches == []
    assert report.again == 1


def test_a_run_that_ends_when_another_process_has_begun_is_late(story):
    story.run_of("steady", 11).ended_at = 17 * SECOND
    story.add_run("steady", 11, 2, 16).pid = 2
    story.add_fault("repeats")

    report = story.judge()
    assert report.breaches == []
    assert (report.late, report.again) == (1, 1)


def test_a_run_that_began_as_a_later_attempt_was_tried_for_another_groups_failure(story):
    story.run_of("steady", 11).attempt = 2

    assert story.rules() == {"repeated without a cause"}


def test_an_attempt_before_its_pause_is_over_is_too_early(story):
    second = [run for run in story.runs if run.number == HOPELESS and run.attempt == 2]
    second[0].started_at -= SECOND // 4
    assert story.rules() == {"tried again too early"}

    story.add_fault("repeats", began=13, ended=14)
    assert story.rules() == {"tried again too early"}

    story.add_fault("resets", began=13, ended=14)
    assert story.rules() == set()


def test_an_attempt_beyond_the_last_is_too_often_whatever_the_fault(story):
    story.add_run("failing", HOPELESS, 4, 20, "failed")
    story.add_fault("repeats", "resets", "refuses", began=0, ended=30)

    assert story.rules() == {"tried too often"}


def test_more_failures_than_attempts_are_too_often(story):
    story.add_run("failing", HOPELESS, 3, 20, "failed")
    assert story.rules() == {"tried too often"}

    story.add_fault("refuses")
    assert story.rules() == set()


def test_a_dead_letter_of_an_event_that_would_have_succeeded_has_no_cause(story):
    story.runs.remove(story.run_of("failing", 14))
    story.found.dead.append(Dead("failing", 14, "114-0", "crashed"))
    del story.found.effects["failing"][14]
    story.add_fault("repeats", "resets", began=0, ended=30)

    assert story.rules() == {"dead without a cause"}


def test_a_dead_letter_before_the_last_attempt_has_no_cause(story):
    story.runs = [run for run in story.runs if not (run.number == HOPELESS and run.attempt == 3)]

    assert story.rules() == {"dead without a cause"}


def test_a_second_dead_letter_of_one_event_has_no_cause(story):
    story.found.dead.append(Dead("failing", HOPELESS, "113-0", "failed"))
    assert story.rules() == {"dead without a cause"}

    story.add_fault("resets", began=13, ended=13.5)
    assert story.rules() == set()


def test_events_of_one_aggregate_are_handled_in_the_order_of_their_entries(story):
    # Of two aggregates, 12 and 14 share one; 11 and 14 do not.
    story.run_of("steady", 11).started_at = int(14.5 * SECOND)
    story.run_of("steady", 13).started_at = int(14.6 * SECOND)
    assert story.rules() == set()

    story.run_of("steady", 12).started_at = int(14.7 * SECOND)
    assert story.rules() == {"out of order"}

    story.ordered = ()
    assert story.rules() == set()


def test_a_run_in_which_nothing_happened_shows_nothing():
    assert Story().rules() == {"idle"}
