"""A small aggregate for the tests of repositories and snapshots, and its programs for other processes."""

from pydantic import BaseModel, Field

from busredis import DomainEvent, EventSourcedAggregate, SnapshotPolicy, applies


class CounterMade(DomainEvent):
    name: str = ""


class Stepped(DomainEvent):
    by: int = 1
    note: str = ""


class Relabelled(DomainEvent):
    labels: dict[str, int] = Field(default_factory=dict)


class CounterState(BaseModel):
    name: str = ""
    total: int = 0
    steps: int = 0
    labels: dict[str, int] = {}
    last: list[int] = []


class Counter(
    EventSourcedAggregate[CounterState],
    events=(CounterMade, Stepped, Relabelled),
    strict=True,
    snapshots=SnapshotPolicy(every=None),
):
    def make(self, name: str) -> None:
        if self.state.name:
            raise ValueError(f"the counter is {self.state.name} already")
        self.raise_event(CounterMade(name=name))

    def count(self, by: int = 1, note: str = "") -> None:
        if self.state.total + by < 0:
            raise ValueError(f"the total would be {self.state.total + by}")
        self.raise_event(Stepped(by=by, note=note))

    def label(self, **labels: int) -> None:
        self.raise_event(Relabelled(labels=labels))

    def is_even(self) -> bool:
        return self.state.total % 2 == 0

    @applies(CounterMade)
    def _made(self, event: CounterMade) -> None:
        self.state.name = event.name

    @applies(Stepped)
    def _counted(self, event: Stepped) -> None:
        self.state.total += event.by
        self.state.steps += 1
        self.state.last = [*self.state.last[-4:], event.by]

    @applies(Relabelled)
    def _relabelled(self, event: Relabelled) -> None:
        self.state.labels = {**self.state.labels, **event.labels}


def made(repository, name="c", steps=3):
    counter = Counter(name)
    counter.make("first")
    for number in range(1, steps + 1):
        counter.count(number)
    repository.save(counter)
    return counter
