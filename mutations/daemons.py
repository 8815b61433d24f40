"""Mutants of the daemon and the publishers: when the server is told, and what is done with its answers."""

from mutations.model import BACKLOG, DELIVERY, FAULTS, FENCES, PENDING, REPLIES, SUSPECTS, Edit, Mutant


def _python(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/{module}.py", old, new),), tests)


_RECOVER_OWN = Edit("busredis/daemon/consumer.py", "await self._recover_own()", "pass")
_SWEEP_OWN = Edit(
    "busredis/daemon/reclaimer.py", "await consumer.reclaim(row, self._lease_ms, row.count)", "pass"
)

_HANDED = "test_what_a_daemon_did_not_come_to_before_it_stopped_is_handed_back_at_once_and_counts_no_attempt"

DAEMONS = [
    _python(
        "an entry is acknowledged before its handler runs",
        "delivery/lanes",
        "            outcome = await process.run(delivery)\n            self._running",
        "            await settler._insist(lambda: settler._pending.acknowledge([delivery]))\n"
        "            outcome = await process.run(delivery)\n            self._running",
        f"{DELIVERY}test_what_always_fails_is_dead_after_max_attempts_with_its_story",
        f"{FENCES}test_while_a_handler_runs_its_entry_is_pending",
    ),
    _python(
        "entries are acknowledged by being read",
        "delivery/pending",
        'self.consumer, "COUNT", count)',
        'self.consumer, "NOACK", "COUNT", count)',
        f"{FENCES}test_while_a_handler_runs_its_entry_is_pending",
    ),
    _python(
        "a lost group is restored at the end of its stream",
        "delivery/pending",
        "known.get(stream, first)",
        '"$"',
        f"{FENCES}test_a_lost_group_is_restored_before_what_was_open",
    ),
    _python(
        "a lost group is restored at the beginning of its stream",
        "delivery/pending",
        "known.get(stream, first)",
        '"0-0"',
        f"{FENCES}test_a_lost_group_is_restored_before_what_was_open",
    ),
    Mutant(
        "a waiting entry is taken before its pause is over",
        (
            Edit("busredis/daemon/reclaimer.py", "if left > 0:", "if False:"),
            Edit("busredis/lua/claim.lua", "row[3] < tonumber(ARGV[5]) or ", ""),
        ),
        (f"{DELIVERY}test_a_retry_waits_its_backoff_across_a_restart_of_the_daemon",),
    ),
    _python(
        "what there was no room for waits until the lists have been gone through",
        "daemon/reclaimer",
        "consumer.pending.go_on_at(left)",
        "pass",
        f"{BACKLOG}test_a_daemon_without_room_goes_on_with_the_entry_that_it_had_no_room_for",
    ),
    _python(
        "attempts are not counted",
        "daemon/reclaimer",
        "int(pause.total_seconds() * 1000), row.count + 1)",
        "int(pause.total_seconds() * 1000), row.count)",
        f"{FENCES}test_attempts_are_counted",
    ),
    _python(
        "one attempt too many",
        "delivery/model",
        "Verdict.RETRY if attempt < max_attempts else",
        "Verdict.RETRY if attempt <= max_attempts else",
        f"{DELIVERY}test_what_always_fails_is_dead_after_max_attempts_with_its_story",
    ),
    _python(
        "what cannot be decoded is tried again",
        "delivery/model",
        "return Outcome(Verdict.DEAD_LETTER, error.reason, bounded(error.detail))",
        "return Outcome(Verdict.RETRY, error.reason, bounded(error.detail))",
        "tests/unit/test_router.py::test_how_an_attempt_ends_depends_on_what_was_raised",
    ),
    _python(
        "the last attempt of a suspect is run beside others",
        "daemon/suspects",
        "                self._gate.close()\n",
        "",
        f"{FENCES}test_the_last_attempt_of_a_suspect_runs_with_nothing_beside_it",
    ),
    _python(
        "a suspect does not wait for what runs already",
        "daemon/suspects",
        "alone = await self._quiet()",
        "alone = True",
        f"{FENCES}test_the_last_attempt_of_a_suspect_runs_with_nothing_beside_it",
    ),
    _python(
        "an entry is found guilty that never ran alone",
        "daemon/suspects",
        "return row.count >= last and await self._consumer.client.run(pending.was_alone(row))",
        "return row.count >= last",
        f"{SUSPECTS}test_what_a_dead_daemon_held_is_run_alone_before_it_can_be_found_guilty",
    ),
    Mutant(
        "what came in a reply that got lost is left lying",
        (_RECOVER_OWN, _SWEEP_OWN),
        (f"{FAULTS}test_a_lost_reply_to_a_daemon_loses_no_event_and_counts_no_attempt[XREADGROUP]",),
    ),
    _python(
        "what came in a reply that got lost waits for the end of the lease",
        "daemon/consumer",
        "await self._recover_own()",
        "pass",
        f"{REPLIES}test_what_came_in_a_lost_reply_is_taken_up_long_before_the_lease_ends",
    ),
    _python(
        "what was read with acknowledgements is forgotten when their reply is lost",
        "daemon/consumer",
        "self._failure, self._in_doubt = reply, True",
        "pass",
        "tests/integration/test_read_ahead.py::"
        "test_what_came_with_a_lost_reply_to_acknowledgements_is_taken_up_at_once",
    ),
    _python(
        "a daemon reads as if what it has not acknowledged were settled",
        "daemon/consumer",
        "room = self.room() - self._kept + settled",
        "room = self._settings.prefetch",
        "tests/integration/test_read_ahead.py::"
        "test_a_daemon_never_holds_more_than_its_prefetch_and_keeps_the_order",
    ),
    _python(
        "a suspect whose claim was not answered is judged as if it had run",
        "daemon/suspects",
        "is_own = row.holder == consumer.pending.consumer and",
        "is_own = False and",
        "tests/integration/test_lost_claims.py::"
        "test_an_entry_whose_claim_was_not_answered_has_its_attempt_and_runs_alone[True-take-2]",
    ),
    _python(
        "no room is kept for a retry that is due",
        "daemon/consumer",
        "self._kept = max(1, self._limit // 2)",
        "self._kept = 0",
        "tests/integration/test_retries_in_a_backlog.py::"
        "test_a_retry_that_is_due_does_not_wait_for_the_end_of_the_backlog[async-8]",
    ),
    _python(
        "an async handler that blocks the loop is never seen to be over its timeout",
        "daemon/lease",
        "0 < delivery.started_at == delivery.ended_at",
        "0 < delivery.ended_at < delivery.started_at",
        "tests/integration/test_stuck_handlers.py::"
        "test_a_handler_that_blocks_the_loop_beyond_its_timeout_loses_its_entry_to_another_daemon",
    ),
    _python(
        "a thread that hung and returns is not used again",
        "delivery/lanes",
        "if abandoned and not self._finds_place():",
        "if abandoned:",
        "tests/integration/test_stuck_handlers.py::"
        "test_threads_that_hung_beyond_their_timeout_go_on_when_they_return",
    ),
    _python(
        "what a daemon holds itself and knows nothing of is left lying",
        "daemon/reclaimer",
        _SWEEP_OWN.old,
        _SWEEP_OWN.new,
        f"{FENCES}test_what_a_daemon_holds_and_knows_nothing_of_is_run_once_its_lease_has_ended",
    ),
    _python(
        "what a silent daemon holds is left lying",
        "daemon/reclaimer",
        "                suspects.append(row)",
        "                pass",
        f"{FENCES}test_the_last_attempt_of_a_suspect_runs_with_nothing_beside_it",
    ),
    _python(
        "the lease of a slow handler is not renewed",
        "daemon/lease",
        "lost = self._client.run(consumer.pending.renew(held))",
        "lost: set[bytes] = set()",
        f"{FENCES}test_a_slow_handler_keeps_its_lease_while_the_loop_is_free",
    ),
    _python(
        "the lease of a handler that blocks the loop is not renewed",
        "daemon/lease",
        "            self._client.run(consumer.pending.renew_own())\n",
        "",
        f"{FAULTS}test_a_slow_handler_keeps_its_lease_also_when_it_blocks_the_loop",
    ),
    _python(
        "a settlement is given up when the server does not answer",
        "delivery/settle",
        "                await asyncio.sleep(random.uniform(0, pause))",
        "                return None\n                await asyncio.sleep(random.uniform(0, pause))",
        f"{REPLIES}test_an_acknowledgement_survives_a_server_that_is_away",
    ),
    Mutant(
        "what was not started before a daemon stops is not handed back",
        (
            Edit(
                "busredis/daemon/daemon.py",
                "            consumer.lanes.hand_back()\n        # A read",
                "            pass\n        # A read",
            ),
            Edit(
                "busredis/daemon/daemon.py",
                "await consumer.lanes.cancel()\n            consumer.lanes.hand_back()",
                "await consumer.lanes.cancel()",
            ),
        ),
        (f"{PENDING}{_HANDED}[async]", f"{PENDING}{_HANDED}[sync]"),
    ),
    _python(
        "an entry that is too large is parsed",
        "codec",
        "        if len(raw) > self.max_bytes:\n            raise DecodeError(",
        "        if False:\n            raise DecodeError(",
        "tests/unit/test_malformed_entries.py::test_an_entry_that_is_too_large_is_refused_before_it_is_parsed",
    ),
    _python(
        'the text "5" is taken for a number',
        "events/event",
        "        strict=True,\n",
        "",
        "tests/unit/test_malformed_entries.py::test_a_field_of_the_wrong_type_is_refused_and_named",
    ),
    _python(
        "an event of a foreign program has another id at each reading",
        "codec",
        'str(uuid.uuid5(_NAMESPACE, f"{event_type} {entry_id}"))',
        "str(uuid.uuid4())",
        "tests/unit/test_codec.py"
        "::test_an_entry_with_only_a_payload_gets_the_same_id_each_time_and_the_time_of_its_entry",
    ),
    Mutant(
        "a retried append has another number",
        (
            Edit(
                "busredis/publisher/blocking.py",
                "time.sleep(appender.after(error, attempt, batch))",
                "time.sleep(appender.after(error, attempt, batch)); attempt = appender.begin()",
            ),
        ),
        ("tests/integration/test_publisher.py::test_a_lost_reply_is_retried_and_stored_once",),
    ),
    Mutant(
        "a retried append of the asyncio publisher has another number",
        (
            Edit(
                "busredis/publisher/queue.py",
                "await asyncio.sleep(self.appender.after(error, attempt, batch))",
                "await asyncio.sleep(self.appender.after(error, attempt, batch))\n"
                "                attempt = self.appender.begin()",
            ),
        ),
        (f"{FAULTS}test_a_lost_reply_to_a_publisher_is_stored_once",),
    ),
]
