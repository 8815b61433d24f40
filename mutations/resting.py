"""Mutants of daemons that rest until they are told that there is something."""

from mutations.model import WAKING, Edit, Mutant


def _python(name: str, module: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, (Edit(f"busredis/{module}.py", old, new),), tests)


RESTING = [
    _python(
        "who waits for entries of a partition never rests",
        "daemon/reader",
        "                self._rest(node, wish)\n",
        "                wish.at = now + wish.pause\n",
        f"{WAKING}test_an_idle_daemon_asks_for_nothing_again_and_again",
    ),
    _python(
        "who waits for entries rests before it has asked once more",
        "daemon/reader",
        "        for wish in node.wishes:\n"
        "            if wish.misses >= _ENOUGH and tidings.since(wish.keys) is not None:\n"
        "                wish.at = 0.0  # once more, and then it may rest\n",
        "        for wish in list(node.wishes):\n"
        "            if wish.misses >= _ENOUGH and tidings.since(wish.keys) is not None:\n"
        "                self._rest(node, wish)\n",
        f"{WAKING}test_what_is_added_just_before_it_is_asked_for_is_found[plain]",
        f"{WAKING}test_what_is_added_just_before_it_is_asked_for_is_found[ordered]",
    ),
    _python(
        "the loss of the connection that tells wakes nobody",
        "daemon/tidings",
        "        self._wire = None\n        self._ended.set()\n        self._forget()\n",
        "        self._wire = None\n        self._ended.set()\n",
        f"{WAKING}test_who_rests_wakes_when_the_connection_that_tells_is_lost",
    ),
    _python(
        "sweeps rest while entries are pending",
        "daemon/reclaimer",
        "may_rest = since is not None and self.is_quiet and not self._consumer.settler.held",
        "may_rest = since is not None",
        f"{WAKING}test_what_a_silent_daemon_has_taken_is_taken_over_by_one_that_rested",
    ),
    _python(
        "a retry that is due waits for the end of a read that rests",
        "daemon/consumer",
        "            self.release()  # a read that rests may take all the room\n",
        "",
        f"{WAKING}test_a_retry_that_is_due_has_its_turn_though_a_read_rests_that_may_take_all_the_room",
    ),
    _python(
        "what nobody tells is found when the daemon is started anew",
        "daemon/patrol",
        "                    self._tidings.tell(stream)\n",
        "",
        f"{WAKING}test_what_nobody_tells_is_found_all_the_same",
    ),
]
