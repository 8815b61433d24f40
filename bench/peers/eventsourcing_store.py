"""The package eventsourcing, asked by bench/store.py. Runs in an environment of its own.

A line is `<recorder> prepare <events> <tail>`, `<recorder> load <events>`, `<recorder> tail <events>` or
`<recorder> commit <events>`; the answer is a JSON number: the seconds that it took.
"""

import json
import os
import sys
import time

from eventsourcing.application import Application, Repository
from eventsourcing.domain import Aggregate, event

FOLDER = sys.argv[1]
SETTINGS = {
    "POPO": {"PERSISTENCE_MODULE": "eventsourcing.popo"},
    "SQLite": {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": os.path.join(FOLDER, "events.sqlite"),  # noqa: PTH118
    },
}


class Agent(Aggregate):
    def __init__(self) -> None:
        self.evaluated = 0
        self.denied = 0

    @event("ActionEvaluated")
    def evaluate(self, action: str, decision: str, violated_law: str, rationale: str, context: dict) -> None:
        self.evaluated += 1
        self.denied += decision == "DENY"


class App(Application):
    is_snapshotting_enabled = True


APPS = {name: App(env=env) for name, env in SETTINGS.items()}
IDS = {}


def raise_events(agent: Agent, count: int) -> None:
    for number in range(count):
        agent.evaluate("deploy", "DENY", "L2", "over budget", {"t": number})


def prepare(app: App, name: str, count: int, tail: int) -> None:
    agent = Agent()  # its creation is an event too
    left = count - tail - 1
    while left:
        raise_events(agent, min(left, 1000))
        left -= min(left, 1000)
        app.save(agent)
    app.save(agent)
    app.take_snapshot(agent.id)
    raise_events(agent, tail)
    app.save(agent)
    IDS[name, count] = agent.id


def answer(name: str, what: str, count: int, tail: int) -> float:
    app = APPS[name]
    if what == "prepare":
        prepare(app, name, count, tail)
        return 0.0
    if what == "commit":
        agents = [Agent() for _ in range(count)]
        started = time.perf_counter()
        for agent in agents:
            raise_events(agent, 2)  # with its creation: three
            app.save(agent)
        return time.perf_counter() - started
    repository = app.repository if what == "tail" else Repository(app.events)
    started = time.perf_counter()
    agent = repository.get(IDS[name, count])
    took = time.perf_counter() - started
    assert agent.version == count
    assert agent.evaluated == count - 1
    return took


for line in sys.stdin:
    recorder, what, *numbers = line.split()
    count, tail = map(int, [*numbers, 0][:2])
    print(json.dumps(answer(recorder, what, count, tail)), flush=True)
