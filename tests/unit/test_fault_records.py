"""What the fault suite reads: histories as they were told, and traces of what was synced."""

import pytest

from faults.history import NOTHING, Recorder, read_history
from faults.power import synced_length


def test_a_history_is_read_back_as_it_was_told_without_the_line_that_a_kill_tore(tmp_path):
    publisher, worker = Recorder(tmp_path / "publisher-a.log"), Recorder(tmp_path / "worker-77-1.log")
    faults = Recorder(tmp_path / "faults.log")
    publisher.write("invoke", 0, 2)
    publisher.write("ok", "1-0", "1-1")
    publisher.write("invoke", 2, 5)
    worker.write("start", "steady", 0, "1-0", 1)
    worker.write("done", "steady", 0, "1-0", 1)
    worker.write("start", "steady", 1, "1-1", 2)
    faults.write("fault", "kill-a-daemon", 5, "repeats,resets", NOTHING)
    for recorder in (publisher, worker, faults):
        recorder.close()
    with (tmp_path / "worker-77-1.log").open("a") as file:
        file.write("done 123 steady 1 1-")

    history = read_history(tmp_path)

    first, second = history.publishes
    assert (first.publisher, first.outcome, list(first.numbers), first.ids) == (
        "a",
        "ok",
        [0, 1],
        ["1-0", "1-1"],
    )
    assert (second.outcome, list(second.numbers)) == ("unknown", [2, 3, 4, 5, 6])
    assert [(run.number, run.attempt, run.pid, run.end) for run in history.runs] == [
        (0, 1, 77, "done"),
        (1, 2, 77, ""),
    ]
    [fault] = history.faults
    assert (fault.name, fault.began, fault.leads_to) == ("kill-a-daemon", 5, {"repeats", "resets"})


FILE = "/d/appendonlydir/appendonly.aof.1.incr.aof"


@pytest.mark.parametrize(
    ("lines", "synced"),
    [
        ([], 1_000),
        ([f'7  write(9<{FILE}>, ""..., 50) = 50'], 1_000),
        ([f'7  write(9<{FILE}>, ""..., 50) = 50', f"8  fdatasync(9<{FILE}>) = 0"], 1_050),
        ([f'7  write(9<{FILE}>, ""..., 50) = 20', f"8  fdatasync(9<{FILE}>) = 0"], 1_020),
        (
            [
                f'7  write(9<{FILE}>, ""..., 50) = 50',
                f"8  fdatasync(9<{FILE}>) = -1 EIO (Input/output error)",
            ],
            1_000,
        ),
        ([f'7  write(9<{FILE}>, ""..., 50) = 50', f"8  fdatasync(9<{FILE}> <unfinished ...>"], 1_000),
        (
            [
                f"8  fdatasync(9<{FILE}> <unfinished ...>",
                f'7  write(9<{FILE}>, ""..., 50) = 50',
                "8  <... fdatasync resumed>)       = 0",
            ],
            1_000,
        ),
        (
            [
                f'7  write(9<{FILE}>, ""..., 50 <unfinished ...>',
                "7  <... write resumed>)           = 50",
                f"8  fdatasync(9<{FILE}> <unfinished ...>",
                f'7  write(9<{FILE}>, ""..., 9) = 9',
                "8  <... fdatasync resumed>)       = 0",
            ],
            1_050,
        ),
        ([f"7  ftruncate(9<{FILE}>, 700) = 0", f'7  write(9<{FILE}>, ""..., 50) = 50'], 700),
        (['7  write(3</d/server.log>, ""..., 50) = 50', "8  fdatasync(3</d/server.log>) = 0"], 1_000),
    ],
)
def test_only_what_was_written_before_a_sync_began_that_ended_well_is_safe(lines, synced):
    assert synced_length(lines, 1_000) == synced
