"""Something that is done in one partition after the other: who is told of what."""

import pytest

from busredis.errors import ConnectionLost, PartlyDone, ReplayRefused
from busredis.partitions import Tries, all_keys


def tried(count, problems):
    """What became of a try in each of `count` partitions; `problems` are raised in those with their numbers."""
    partitions = all_keys("x", count)
    tries = Tries(partitions)
    for keys in tries.left():
        with tries.at(keys):
            if problem := problems.get(keys.partition or 0):
                raise problem
            tries.done(keys, f"done {keys.partition}")
    return tries.end()


def test_the_results_come_in_the_order_of_the_partitions():
    assert tried(3, {}) == ["done 0", "done 1", "done 2"]


def test_of_a_single_partition_an_error_is_raised_as_it_is():
    with pytest.raises(ReplayRefused, match=r"^no$"):
        tried(1, {0: ReplayRefused("no")})


def test_a_problem_keeps_no_other_partition_from_its_turn_and_all_is_told():
    problems = {number: ReplayRefused(f"no {number}") for number in (1, 2, 5, 6, 9)}

    with pytest.raises(PartlyDone) as caught:
        tried(11, problems)

    assert str(caught.value) == (
        "partition 1: no 1; partition 2: no 2; partition 5: no 5; and so on in 6, 9; done in partition 0, 3-4, 7-8, 10; "
        "the same again, when it can be, finishes it"
    )
    assert caught.value.problems == problems
    assert caught.value.results[10] == "done 10"


def test_servers_that_do_not_answer_are_not_waited_for_in_every_partition():
    lost = {number: ConnectionLost("timeout") for number in (0, 2, 3, 4, 6)}

    with pytest.raises(PartlyDone) as caught:
        tried(8, lost)

    assert list(caught.value.problems) == [0, 2, 3, 4]
    assert (list(caught.value.results), caught.value.untried) == ([1], [5, 6, 7])
    with pytest.raises(PartlyDone, match="not tried in 3-63; nothing was done"):
        tried(64, {number: ConnectionLost("timeout") for number in range(64)})
