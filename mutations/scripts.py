"""Mutants of the Lua scripts: what the server is told to do."""

from mutations.model import (
    BACKLOG,
    DELIVERY,
    FAULTS,
    FENCES,
    PENDING,
    PUBLISHER,
    REPLIES,
    SUSPECTS,
    Edit,
    Mutant,
)


def _lua(name: str, script: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/lua/{script}.lua", old, new),), tests)


_FENCED = (
    f"{FAULTS}test_a_lost_lease_is_fenced_neither_ack_nor_retry_nor_dead_letter_nor_renewal_touch_the_entry"
)
_BOTH = f"{FENCES}test_a_dead_letter_and_its_acknowledgement_are_both_done_or_neither"

SCRIPTS = [
    # Publishing
    _lua(
        "append forgets what it answered: a retry after a lost reply stores the event twice",
        "append",
        "if number == ARGV[1] then return ids end",
        "",
        f"{PUBLISHER}test_a_lost_reply_is_retried_and_stored_once",
        f"{FAULTS}test_a_lost_reply_to_a_publisher_is_stored_once",
    ),
    _lua(
        "append writes a stale retry that arrives after a later append",
        "append",
        "if tonumber(number) > tonumber(ARGV[1]) then",
        "if false then",
        f"{REPLIES}test_an_append_that_arrives_after_a_later_one_was_answered_writes_nothing",
    ),
    _lua(
        "append does not take back what it wrote when a later event is refused",
        "append",
        "redis.call('XDEL', stream, id)",
        "",
        f"{PUBLISHER}test_a_batch_is_written_whole_or_not_at_all",
    ),
    _lua(
        "append does not look at its clock: order breaks when the server's clock steps back",
        "order",
        "ms, seq = clock_ms, string.sub(clock, dash + 1) + 1",
        "",
        f"{PUBLISHER}test_ids_rise_over_all_type_streams_also_beside_foreign_entries_and_a_clock_that_steps_back",
    ),
    _lua(
        "the server counts on in a stream that was not the last",
        "order",
        "stream == order.followed and follow(order, stream, json)",
        "order.followed and follow(order, stream, json)",
        f"{PUBLISHER}test_ids_rise_over_all_type_streams_also_beside_foreign_entries_and_a_clock_that_steps_back",
    ),
    _lua(
        "append does not set its clock",
        "order",
        "if order.last_id then redis.call('SET', order.clock, order.last_id) end",
        "",
        f"{REPLIES}test_an_append_leaves_the_clock_at_its_last_id",
    ),
    _lua(
        "append does not look idempotency keys up",
        "append",
        "remember[once] or redis.call('GET', once)",
        "remember[once]",
        f"{PUBLISHER}test_an_idempotency_key_stores_an_event_once",
    ),
    _lua(
        "append takes another event under a used idempotency key for the same one",
        "append",
        "if known_print ~= fingerprint then",
        "if false then",
        f"{PUBLISHER}test_an_idempotency_key_stores_an_event_once",
    ),
    _lua(
        "append remembers idempotency keys for ever",
        "append",
        "redis.call('SET', once, value, 'PX', ARGV[3])",
        "redis.call('SET', once, value)",
        f"{REPLIES}test_an_idempotency_key_is_forgotten_after_its_window",
    ),
    _lua(
        "append remembers every publisher for ever",
        "append",
        "ARGV[1] .. ' ' .. reply, 'PX', ARGV[2])",
        "ARGV[1] .. ' ' .. reply)",
        f"{REPLIES}test_nothing_that_a_publisher_leaves_behind_stays_for_ever_but_streams_types_clock_and_the_number_of_partitions",
    ),
    # The lease
    _lua(
        "renewal steals what another consumer holds",
        "renew",
        "if found[id] ~= attempt then",
        "if false then",
        _FENCED,
    ),
    _lua(
        "renewal renews an entry that is in its consumer's hands in another attempt",
        "renew",
        "if found[id] ~= attempt then",
        "if not found[id] then",
        f"{FENCES}test_a_lease_is_for_one_attempt_also_in_the_hands_of_one_consumer",
    ),
    _lua(
        "renewal counts as a delivery",
        "renew",
        "command[#command + 1] = 'JUSTID'",
        "",
        f"{FENCES}test_a_renewal_counts_no_attempt_and_resets_the_idle_time",
    ),
    _lua(
        "renewal drops an entry that was deleted",
        "renew",
        "elseif #redis.call('XRANGE', KEYS[k], id, id) > 0 then",
        "else",
        f"{PENDING}test_a_renewal_does_not_drop_an_entry_that_was_deleted",
    ),
    _lua(
        "claim drops an entry that was deleted",
        "claim",
        "if not entry then return {} end",
        "if not entry then redis.call('XACK', KEYS[1], ARGV[1], ARGV[3]) return false end",
        f"{PENDING}test_an_entry_that_was_deleted_in_the_hands_of_a_dead_daemon_is_a_dead_letter_that_says_so",
    ),
    _lua(
        "claim takes an entry from whoever holds it",
        "claim",
        "row[2] ~= ARGV[4] or ",
        "",
        f"{FENCES}test_a_claim_takes_only_what_is_still_as_it_was_seen[holder]",
    ),
    _lua(
        "claim takes an entry that is not idle for long enough",
        "claim",
        "row[3] < tonumber(ARGV[5]) or ",
        "",
        f"{FENCES}test_a_claim_takes_only_what_is_still_as_it_was_seen[idle]",
    ),
    _lua(
        "claim takes an entry that was delivered again meanwhile",
        "claim",
        " or row[4] ~= tonumber(ARGV[6])",
        "",
        f"{FENCES}test_a_claim_takes_only_what_is_still_as_it_was_seen[count]",
    ),
    # Settling
    Mutant(
        "an acknowledgement is not fenced by who holds the entry",
        (
            Edit("busredis/lua/settle.lua", "#ids + 1, consumer)", "#ids + 1)"),
            Edit("busredis/lua/settle.lua", "row and row[2] == consumer and row[4] == attempt", "row"),
        ),
        (_FENCED,),
    ),
    _lua(
        "an acknowledgement is not fenced by the attempt",
        "settle",
        "if row[1] ~= ids[i] or row[4] ~= attempt then",
        "if row[1] ~= ids[i] then",
        f"{FENCES}test_a_lease_is_for_one_attempt_also_in_the_hands_of_one_consumer",
    ),
    _lua(
        "many acknowledgements at once are not fenced by who holds the entries",
        "settle",
        "if #rows ~= #ids then return false end",
        "if true then return true end",
        f"{FENCES}test_many_acknowledgements_at_once_are_fenced_like_one",
    ),
    _lua(
        "a retry is not fenced",
        "wait",
        "elseif row and row[2] == ARGV[2] and row[4] == attempt then",
        "elseif row then",
        _FENCED,
    ),
    _lua(
        "handing back counts an attempt",
        "wait",
        "ARGV[4] == '1' and attempt or attempt - 1",
        "attempt",
        f"{SUSPECTS}test_a_daemon_stops_within_grace_while_a_sync_suspect_hangs_and_hands_it_back",
        f"{SUSPECTS}test_a_retry_that_counts_no_attempt_leaves_no_note_behind",
    ),
    # Dead letters
    _lua(
        "a dead letter is not fenced",
        "dead_letter",
        "if not row or row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[3]) then return false end",
        "",
        _FENCED,
    ),
    _lua(
        "a dead letter is written and its entry not acknowledged",
        "dead_letter",
        "redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])",
        "",
        f"{_BOTH}[False]",
    ),
    _lua(
        "an entry that is given up is acknowledged and no dead letter written",
        "dead_letter",
        "redis.call('XADD', KEYS[2], '*', unpack(letter))",
        "'0-1'",
        f"{_BOTH}[False]",
        f"{DELIVERY}test_what_always_fails_is_dead_after_max_attempts_with_its_story",
    ),
    _lua(
        "an entry is acknowledged before its dead letter is written",
        "dead_letter",
        "local id = redis.call('XADD'",
        "redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])\nlocal id = redis.call('XADD'",
        f"{_BOTH}[True]",
    ),
    _lua(
        "a dead letter is handed back with no attempt left",
        "retry_letter",
        "'RETRYCOUNT', 0,",
        "'RETRYCOUNT', 99,",
        f"{FENCES}test_a_dead_letter_that_is_handed_back_has_all_its_attempts",
    ),
    # Looking after the group
    _lua(
        "a sweep sees only the first page of what waits",
        "sweep",
        "start = #page == size and '(' .. page[size][1] or nil",
        "start = nil",
        f"{PENDING}test_sweeps_see_all_that_waits_page_by_page",
    ),
    _lua(
        "a sweep asks the server to go through all that a consumer holds",
        "sweep",
        "redis.call('XPENDING', stream, ARGV[1], start or '-'",
        "redis.call('XPENDING', stream, ARGV[1], 'IDLE', least_idle, start or '-'",
        f"{BACKLOG}test_a_busy_consumer_of_many_entries_is_looked_at_a_page_at_a_time",
    ),
    _lua(
        "a look that has seen enough never comes to the consumers that are left",
        "sweep",
        "if n > first and left <= 0 and following == 0 then following = n - 1 end",
        "",
        f"{BACKLOG}test_a_sweep_is_bounded_however_many_consumers_hold_something",
    ),
    _lua(
        "the checkpoint runs ahead of what is still open",
        "sweep",
        "note(stream, summary[1] > 0 and summary[2])",
        "note(stream, nil)",
        f"{FENCES}test_a_lost_group_is_restored_before_what_was_open",
    ),
    _lua(
        "a consumer is removed with the entries that it holds",
        "forget_consumers",
        "info['pending'] == 0 and ",
        "",
        f"{FAULTS}test_a_consumer_with_pending_entries_is_never_removed",
    ),
]
