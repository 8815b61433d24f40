"""The event store: loading aggregates, with and without a snapshot, and committing, beside the floor and a peer."""

import tempfile
from collections.abc import Callable
from functools import partial

import orjson
import redis
from pydantic import BaseModel

from bench.measure import seconds, show
from bench.peers.environment import NotMeasured, Peer, python_with
from bench.publish import event
from busredis import EventSourcedAggregate, EventStore, Repository, SnapshotPolicy, applies
from busredis.catalog import ActionEvaluatedEvent
from busredis.store import AggregateId, Commit

#: Events in a history, and rounds: a median of fewer where one load takes a second.
_SIZES = {10: 51, 1_000: 31, 10_000: 11, 100_000: 5}
_TAIL, _COMMITS, _SCATTERED = 50, 100, 10_000
_PIECE = 400
_XADD3 = "for i = 1, 3 do redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) end"

Case = Callable[[], float | None]


class AgentState(BaseModel):
    evaluated: int = 0
    denied: int = 0


class Agent(EventSourcedAggregate[AgentState], snapshots=SnapshotPolicy(every=None)):
    @applies(ActionEvaluatedEvent)
    def _evaluated(self, fact: ActionEvaluatedEvent) -> None:
        self.state.evaluated += 1
        self.state.denied += fact.decision == "DENY"


def fact(number: int) -> ActionEvaluatedEvent:
    """An event that no aggregate has yet, with its context in the metadata."""
    made = event(number)
    return made.model_copy(update={"aggregate_id": None, "aggregate_type": None})


def tail_of(count: int) -> int:
    """How many events follow the snapshot of a history of `count` events."""
    return min(_TAIL, count // 2)


class Bench:
    def __init__(self, url: str, peer: Peer | None) -> None:
        self.client = redis.Redis.from_url(url)
        self.store = EventStore(url, namespace="bench")
        self.repository = Repository(self.store)
        self.peer = peer

    # Histories

    def prepare(self, count: int) -> None:
        """Two aggregates with `count` events, the second with a snapshot; and the same JSONs in a stream of their own."""
        tail = tail_of(count)
        self._fill(f"plain-{count}", count)
        self._fill(f"snapshotted-{count}", count - tail)
        agent = self.repository.load(Agent, f"snapshotted-{count}")
        assert self.repository.snapshot(agent)
        self._raise(agent, tail)
        pipeline = self.client.pipeline(transaction=False)
        for stored in self.store.read(agent.key):
            pipeline.xadd(f"raw-{count}", {"event": stored.event.to_json()})
            if len(pipeline) == 1000:
                pipeline.execute()
        pipeline.execute()
        if self.peer:
            for recorder in ("POPO", "SQLite"):
                self.peer.ask(recorder, "prepare", count, tail)

    def _fill(self, name: str, count: int) -> None:
        agent = Agent(name)
        for start in range(0, count, _PIECE):
            self._raise(agent, min(_PIECE, count - start))

    def _raise(self, agent: Agent, count: int) -> None:
        for number in range(count):
            agent.raise_event(fact(number))
        self.repository.save(agent)

    def scatter(self) -> None:
        """Two aggregates that took turns: no two events of one are neighbours in the stream of their type."""
        keys = [AggregateId("Agent", f"scattered-{n}") for n in range(2)]
        for version in range(_SCATTERED):
            self.store.append_all([Commit(key, version, [fact(version)]) for key in keys])

    # Loading

    def load(self, name: str, count: int) -> None:
        agent = self.repository.load(Agent, name)
        assert agent.version == agent.state.evaluated == count

    def raw_load(self, count: int) -> None:
        start, seen = "-", 0
        while entries := self.client.xrange(f"raw-{count}", start, "+", count=1000):
            for _, fields in entries:
                orjson.loads(fields[b"event"])
            seen += len(entries)
            start = b"(" + entries[-1][0]
        assert seen == count

    def raw_tail(self, count: int) -> None:
        """What a snapshot is at least: two round trips, one for the state, one for the tail."""
        snapshot = f"{{bench}}:snapshot:Agent:snapshotted-{count}"
        state = self.client.hget(snapshot, "state")
        orjson.loads(state)
        for _, fields in self.client.xrevrange(f"raw-{count}", count=tail_of(count)):
            orjson.loads(fields[b"event"])

    def peers(self, what: str, count: int) -> dict[str, Case]:
        if not self.peer:
            return {}
        return {
            f"eventsourcing, {recorder}": partial(self.peer.ask, recorder, what, count)
            for recorder in ("POPO", "SQLite")
        }

    def loads(self, count: int, rounds: int) -> None:
        base = "redis-py, XRANGE COUNT 1000, orjson.loads"
        cases: dict[str, Case] = {
            base: partial(self.raw_load, count),
            "Repository.load": partial(self.load, f"plain-{count}", count),
        }
        if count == _SCATTERED:
            cases["Repository.load, of two that took turns"] = partial(self.load, "scattered-0", count)
        cases |= self.peers("load", count)
        took = seconds(cases, rounds)
        show(
            f"load {count:,} events, events/s, {rounds} rounds", {n: count / t for n, t in took.items()}, base
        )

    def tails(self, count: int, rounds: int) -> dict[str, float]:
        cases: dict[str, Case] = {
            "raw": partial(self.raw_tail, count),
            "busredis": partial(self.load, f"snapshotted-{count}", count),
        }
        return seconds(cases | self.peers("tail", count), rounds)

    # Committing

    def commits(self) -> None:
        base = "redis-py, one EVALSHA that XADDs the three JSONs"
        sha = self.client.script_load(_XADD3)
        events = [fact(number) for number in range(3)]
        jsons = [one.to_json() for one in events]
        runs = iter(range(1_000_000))

        def raw() -> None:
            for _ in range(_COMMITS):
                self.client.evalsha(sha, 1, "raw-commits", *jsons)

        def encoded() -> None:
            for _ in range(_COMMITS):
                self.client.evalsha(sha, 1, "raw-commits", *[one.to_json() for one in events])

        def append() -> None:
            run = next(runs)
            for number in range(_COMMITS):
                self.store.append(("Agent", f"appended-{run}-{number}"), 0, events)

        def save() -> None:
            run = next(runs)
            for number in range(_COMMITS):
                agent = Agent(f"saved-{run}-{number}")
                for one in events:
                    agent.raise_event(one)
                self.repository.save(agent)

        cases: dict[str, Case] = {
            base: raw,
            "the same, with the events' to_json()": encoded,
            "EventStore.append": append,
            "raise_event x3, Repository.save": save,
        }
        took = seconds(cases | self.peers("commit", _COMMITS), 31)
        rows = {name: _COMMITS / value for name, value in took.items()}
        show("commits of three events, commits/s, 31 rounds", rows, base)


def run(url: str) -> None:
    try:
        python = python_with("eventsourcing")
    except NotMeasured as error:
        print(f"NOT MEASURED: the peer `eventsourcing`, which could not be installed: {error}\n")
        _run(url, None)
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Peer(python, "eventsourcing_store.py", folder) as peer,
    ):
        _run(url, peer)


def _run(url: str, peer: Peer | None) -> None:
    bench = Bench(url, peer)
    bench.commits()
    bench.scatter()
    tails: dict[int, dict[str, float]] = {}
    for count, rounds in _SIZES.items():
        bench.prepare(count)
        bench.loads(count, rounds)
        tails[count] = bench.tails(count, 51)
    _show_tails(tails)
    bench.store.close()
    bench.client.flushall()


def _show_tails(tails: dict[int, dict[str, float]]) -> None:
    """Times as long as the floor, and ms: what matters is how long one waits for an aggregate."""
    print("load a snapshot and the events after it, times the floor's time and ms, 51 rounds")
    print(f"  {'events':>8} {'after it':>8}" + "".join(f"  {name:>24}" for name in tails[10]))
    for count, row in tails.items():
        cells = [f"{took / row['raw']:6.2f}x {took * 1000:8.2f} ms" for took in row.values()]
        print(f"  {count:8,} {tail_of(count):8}" + "".join(f"  {cell:>24}" for cell in cells))
    print("  raw: redis-py, HGET of the state, XREVRANGE of the tail, orjson.loads\n")
