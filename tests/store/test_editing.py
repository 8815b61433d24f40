"""Editing and updating: commands that a conflict repeats on the newer state, unless the block has looked."""

import asyncio

import pytest

from busredis import AggregateNotFound, AsyncRepository, Repository, VersionConflict
from busredis.store import ANY, AsyncInMemoryEventStore
from tests.store.counter import Counter, Stepped, made


def test_edit_saves_at_the_end_of_its_block_and_not_if_that_raises(repository):
    made(repository)
    with repository.edit(Counter, "c") as counter:
        assert isinstance(counter, Counter)
        counter.count(4)
    with pytest.raises(ZeroDivisionError), repository.edit(Counter, "c") as counter:
        counter.count(100)
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="would be"), repository.edit(Counter, "c") as counter:
        counter.count(-100)
    assert repository.load(Counter, "c").state.total == 10


def test_edit_makes_an_aggregate_only_if_it_is_told_to(repository):
    with pytest.raises(AggregateNotFound), repository.edit(Counter, "new") as counter:
        counter.count()
    with repository.edit(Counter, "new", create=True) as counter:
        counter.count(2)
    assert repository.load(Counter, "new").state.total == 2


def test_a_conflict_repeats_the_commands_of_an_edit_on_the_newer_state(repository):
    made(repository)
    with repository.edit(Counter, "c") as counter:
        repository.update(Counter, "c", lambda rival: rival.count(10))
        counter.count(1)
        counter.count(2, note="again")

    assert repository.load(Counter, "c").state.last[-3:] == [10, 1, 2]


def test_a_repeated_command_decides_anew(repository):
    made(repository)
    with pytest.raises(ValueError, match="would be -4"), repository.edit(Counter, "c") as counter:
        counter.count(-5)
        repository.update(Counter, "c", lambda rival: rival.count(-5))
    assert repository.load(Counter, "c").state.total == 1


def look_at_state(counter):
    assert counter.state.total == 6


def look_at_version(counter):
    assert counter.version == 4


def look_at_result(counter):
    assert counter.is_even()


def look_at_error(counter):
    with pytest.raises(ValueError, match="already"):
        counter.make("second")


def look_by_setting(counter):
    counter.state = counter.state


@pytest.mark.parametrize(
    "look", [look_at_state, look_at_version, look_at_result, look_at_error, look_by_setting]
)
def test_a_block_that_has_looked_is_not_repeated(repository, look):
    made(repository)
    with pytest.raises(VersionConflict), repository.edit(Counter, "c") as counter:
        look(counter)
        counter.count(1)
        repository.update(Counter, "c", lambda rival: rival.count(10))
    assert repository.load(Counter, "c").state.total == 16


def test_update_runs_the_whole_change_again_after_a_conflict(repository):
    made(repository)
    seen = []

    def double(counter):
        seen.append(counter.state.total)
        if len(seen) < 3:
            repository.update(Counter, "c", lambda rival: rival.count(1))
        counter.count(counter.state.total)

    assert repository.update(Counter, "c", double).state.total == 16
    assert seen == [6, 7, 8]


def test_update_gives_up_after_so_many_attempts(store):
    repository = Repository(store, attempts=3)
    made(repository)
    seen = []

    def hopeless(counter):
        seen.append(counter.version)
        store.append(counter.key, ANY, [Stepped()])
        counter.count()

    with pytest.raises(VersionConflict):
        repository.update(Counter, "c", hopeless)
    assert seen == [4, 5, 6]


async def test_the_async_repository_does_the_same():
    repository = AsyncRepository(AsyncInMemoryEventStore())
    async with repository.edit(Counter, "c", create=True) as counter:
        counter.make("first")
    await asyncio.gather(*(edit_once(repository) for _ in range(20)))
    loaded = await repository.update(Counter, "c", lambda counter: counter.count(counter.state.total))

    assert loaded.state.total == 40
    assert await repository.exists(Counter, "c")
    assert not await repository.exists(Counter, "d")
    assert (await repository.load(Counter, "c", at_version=1)).state.name == "first"
    assert await repository.snapshot(loaded)


async def edit_once(repository):
    async with repository.edit(Counter, "c") as counter:
        await asyncio.sleep(0)
        counter.count(1)
