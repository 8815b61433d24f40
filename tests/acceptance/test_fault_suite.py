"""The fault suite in short: some of its scenarios, with few events, through the same code (`make faults` is the whole)."""

import random
from dataclasses import replace

import pytest

from faults.run import run
from faults.scenarios import scenarios

#: Events of each scenario.
EVENTS = 4_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "times", "seconds"),
    [
        ("none-ordered", 0, 1.0),
        ("kill-daemon", 2, 2.0),
        ("zombie", 1, 2.0),
        ("kill-server-always", 3, 2.0),
        ("torn-replies", 2, 2.0),
        ("flushall", 1, 2.0),
    ],
)
def test_every_promise_is_kept_under_a_fault(tmp_path, name, times, seconds):
    scenario = scenarios()[name]
    setting = replace(scenario.setting, events=EVENTS, seconds=seconds, lease_s=1.0)

    result = run(
        replace(scenario, setting=setting, times=times),
        random.SystemRandom().randrange(10**6),
        folder=tmp_path / "run",
    )

    assert result.report.breaches == [], f"python -m faults --seed {result.seed} --only {name}"
    assert result.injected >= times
    assert result.report.confirmed == EVENTS
