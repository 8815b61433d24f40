"""A person's data becomes unreadable everywhere, no fact is rewritten, and no handler stops."""

import asyncio
import json
import sys
from typing import Annotated

import pytest
from pydantic import BaseModel

from busredis import (
    Context,
    Daemon,
    DomainEvent,
    EventSourcedAggregate,
    EventStore,
    InMemoryEventStore,
    Personal,
    Publisher,
    Repository,
    Router,
    SnapshotPolicy,
    applies,
)
from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.errors import ConnectionLost, EncodeError, RegistrationError, SettingsError
from busredis.events import FORGOTTEN
from busredis.privacy import RedisKeys, forget, vault_of
from busredis.settings import Settings
from busredis.store import ANY
from busredis.vault import MemoryKeys, Vault


class PersonRegistered(DomainEvent):
    username: str = ""
    email: Annotated[str, Personal("username")] = ""
    born: Annotated[int | None, Personal("username")] = None
    tags: Annotated[list[str] | None, Personal("aggregate_id")] = None
    role: str = ""


class PersonState(BaseModel):
    email: str = ""
    events: int = 0


class PersonalAccount(EventSourcedAggregate[PersonState], snapshots=SnapshotPolicy(every=1)):
    def register(self, name: str) -> None:
        self.raise_event(
            PersonRegistered(username=name, email=f"{name}@example.org", born=1815, tags=["x"], role="r")
        )

    @applies(PersonRegistered)
    def _registered(self, event: PersonRegistered) -> None:
        self.state.email = event.email
        self.state.events += 1


@pytest.fixture
def store(server, namespace, inspect, tmp_path):
    with EventStore(server.url, namespace=namespace, archive=str(tmp_path / "cold")) as made:
        yield made


def fresh(server, namespace, tmp_path):
    """As another process: nothing is remembered."""
    return EventStore(server.url, namespace=namespace, archive=str(tmp_path / "cold"))


def registered(name, **values):
    return PersonRegistered(
        username=name, email=f"{name}@example.org", born=1815, tags=["x"], aggregate_id=name, **values
    )


def everything(inspect, keys):
    """All bytes of the namespace."""
    found = b""
    for key in inspect.scan_iter(keys.everything):
        found += inspect.dump(key)
        if inspect.type(key) == b"stream":
            found += repr(inspect.xrange(key)).encode()
        if inspect.type(key) == b"hash":
            found += repr(inspect.hgetall(key)).encode()
    return found


def test_personal_fields_are_encrypted_where_they_are_stored_and_read_as_they_were(store, inspect, keys):
    store.append(("Person", "ada"), 0, [registered("ada", role="clerk")])

    [(_, fields)] = inspect.xrange(keys.stream("PersonRegistered"))
    payload = json.loads(fields[b"event"])["payload"]
    assert (payload["username"], payload["role"]) == ("ada", "clerk")
    assert [payload[name].keys() for name in ("email", "born", "tags")] == [{"$personal"}] * 3
    assert b"ada@example.org" not in fields[b"event"]
    [stored] = store.feed()
    assert (stored.event.email, stored.event.born, list(stored.event.tags)) == (
        "ada@example.org",
        1815,
        ["x"],
    )


def test_forgotten_it_reads_as_forgotten_in_hot_and_cold_and_others_stay(  # noqa: PLR0917
    server, namespace, store, client, inspect, keys, tmp_path
):
    for name in ("ada", "bob"):
        store.append(("Person", name), 0, [registered(name)])
    before = inspect.xrange(keys.stream("PersonRegistered"))

    assert client.run(forget([keys], "ada")) is True

    for where in ("hot", "cold"):
        if where == "cold":
            assert inspect.xrange(keys.stream("PersonRegistered")) == before
            Archiver(client, keys, Archive(str(tmp_path / "cold"), namespace), "99999999999999-0").run()
        with fresh(server, namespace, tmp_path) as other:
            ada, bob = [stored.event for stored in other.feed()]
            assert (ada.username, ada.email, ada.born, ada.tags) == ("ada", FORGOTTEN, None, None)
            assert (bob.email, bob.born) == ("bob@example.org", 1815)
            assert [s.event for s in other.read(("Person", "ada"))] == [ada]
    assert client.run(forget([keys], "ada")) is False


def test_who_comes_back_has_a_new_key_and_the_old_stays_unreadable(
    server, namespace, store, client, keys, tmp_path
):
    store.append(("Person", "ada"), 0, [registered("ada")])
    client.run(forget([keys], "ada"))

    with fresh(server, namespace, tmp_path) as other:
        other.append(("Person", "ada"), 1, [registered("ada")])
        assert [s.event.email for s in other.feed()] == [FORGOTTEN, "ada@example.org"]


def test_no_snapshot_keeps_what_was_forgotten(  # noqa: PLR0917
    server, namespace, store, client, inspect, keys, tmp_path
):
    repository = Repository(store)
    account = PersonalAccount("ada")
    account.register("ada")
    repository.save(account)
    assert b"ada@example.org" in everything(inspect, keys)
    held = repository.load(PersonalAccount, "ada")

    client.run(forget([keys], "ada"))

    assert b"ada@example.org" not in everything(inspect, keys)
    # Who has loaded it before may go on with it, but leaves no snapshot.
    assert repository.snapshot(held, replace=True) is False
    held.register("grace")
    repository.save(held)
    assert b"@example.org" not in everything(inspect, keys)
    with fresh(server, namespace, tmp_path) as other:
        found = Repository(other).load(PersonalAccount, "ada", at_version=1)
        assert (found.state.email, found.state.events) == (FORGOTTEN, 1)
        again = Repository(other).load(PersonalAccount, "ada")
        assert Repository(other).snapshot(again) is True


def test_a_handler_is_given_the_placeholder_and_goes_on(server, namespace, client, inspect, keys):
    seen, router = [], Router()

    @router.on(PersonRegistered, name="seen")
    async def handle(event: PersonRegistered) -> None:
        seen.append((event.username, event.email))

    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish_many([registered("ada"), registered("bob")])
    client.run(forget([keys], "ada"))
    asyncio.run(Daemon(router, url=server.url, namespace=namespace, burst=True).serve())

    assert seen == [("ada", FORGOTTEN), ("bob", "bob@example.org")]
    assert inspect.xlen(keys.dead("seen")) == 0


@pytest.mark.parametrize("colour", ["async", "sync", "ordered"])
def test_keys_that_cannot_be_asked_for_cost_no_attempt(server, namespace, inspect, keys, monkeypatch, colour):
    seen, router, asked = [], Router(), []
    original = RedisKeys.key

    def lost(self, key_id):
        asked.append(key_id)
        if len(asked) <= 3:
            raise ConnectionLost("the reply is lost")
        return original(self, key_id)

    def handle(event: PersonRegistered, ctx: Context) -> None:
        seen.append((event.email, ctx.attempt))

    async def handle_async(event: PersonRegistered, ctx: Context) -> None:
        handle(event, ctx)

    options = {"max_attempts": 1, "backoff": 0.05, "ordered": colour == "ordered"}
    router.on(PersonRegistered, name="seen", **options)(handle if colour == "sync" else handle_async)
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(registered("ada"))
    monkeypatch.setattr(RedisKeys, "key", lost)
    Daemon(router, url=server.url, namespace=namespace, burst=True, sweep=0.1).run()

    assert seen == [("ada@example.org", 1)]
    assert inspect.xlen(keys.dead("seen")) == 0


def test_what_was_tampered_with_or_moved_reads_as_forgotten(inspect, keys, store):
    store.append(("Person", "ada"), ANY, [registered("ada")])
    stream = keys.stream("PersonRegistered")
    [(_, fields)] = inspect.xrange(stream)
    document = json.loads(fields[b"event"])
    key_id, text = document["payload"]["email"]["$personal"]
    for sealed in ([key_id, text[:-6] + "AAAA=="], [key_id, "?"], [key_id], "x", [1, 2], [key_id, ""]):
        document["payload"]["email"] = {"$personal": sealed}
        inspect.xadd(stream, {"event": json.dumps(document)})

    assert [stored.event.email for stored in store.feed()] == ["ada@example.org"] + [FORGOTTEN] * 6


def test_what_a_handler_is_ordered_by_is_not_personal_as_it_is_kept_in_the_clear(server, namespace):
    router = Router()
    router.on(PersonRegistered, name="by-address", ordered="email")(lambda event: None)

    with pytest.raises(RegistrationError, match="personal data in PersonRegistered"):
        Daemon(router, url=server.url, namespace=namespace)


def test_old_events_without_encryption_are_read(inspect, keys, store):
    inspect.xadd(keys.stream("PersonRegistered"), {"event": '{"payload": {"username": "a", "email": "a@b"}}'})

    assert [stored.event.email for stored in store.feed()] == ["a@b"]


def test_the_keys_of_all_subjects_are_one_each_also_from_many_publishers(server, namespace, inspect, keys):
    vaults = [vault_of(Settings.load(url=server.url, namespace=namespace)) for _ in range(4)]
    sealed = [vault.seal(registered("ada"), registered("ada").to_json()) for vault in vaults]

    assert {json.loads(raw)["payload"]["email"]["$personal"][0] for raw in sealed} == {
        inspect.hget(keys.personal, "subject ada").decode()
    }
    assert len({json.loads(raw)["payload"]["email"]["$personal"][1] for raw in sealed}) == 4
    assert all(json.loads(vaults[0].open(PersonRegistered, raw))["payload"]["born"] == 1815 for raw in sealed)


def test_a_user_may_keep_the_keys_elsewhere(server, namespace, inspect, keys, monkeypatch):
    mine = MemoryKeys()
    monkeypatch.setattr(sys.modules[__name__], "MINE", mine, raising=False)
    options = {"namespace": namespace, "key_store": f"{__name__}:MINE"}
    with EventStore(server.url, **options) as store:
        store.append(("Person", "ada"), 0, [registered("ada")])
    assert inspect.exists(keys.personal) == 0

    mine.forget("ada")

    with EventStore(server.url, **options) as store:
        assert [s.event.email for s in store.feed()] == [FORGOTTEN]
    with pytest.raises(SettingsError, match=r"key_store 'nowhere:x' is no module:object"):
        EventStore(server.url, namespace=namespace, key_store="nowhere:x")


def test_personal_data_in_the_store_in_memory_is_readable():
    store = InMemoryEventStore()
    store.append(("Person", "ada"), 0, [registered("ada")])

    assert [s.event.email for s in store.feed()] == ["ada@example.org"]


def test_data_of_nobody_is_refused(server, namespace, inspect):
    with Publisher(server.url, namespace=namespace) as publisher:
        with pytest.raises(
            EncodeError, match=r"PersonRegistered.email is personal data of username, which is not given"
        ):
            publisher.publish(PersonRegistered(email="a@b"))
        publisher.publish(PersonRegistered(role="nothing personal"))


def test_a_key_is_remembered_for_a_while_and_no_longer():
    keys = MemoryKeys()
    event, never = registered("ada"), Vault(keys, remember=0)
    long = Vault(keys, remember=1_000)
    raw = long.seal(event, event.to_json())
    long.open(PersonRegistered, raw)
    keys.forget("ada")

    assert json.loads(long.open(PersonRegistered, raw))["payload"]["email"] == "ada@example.org"
    assert json.loads(never.open(PersonRegistered, raw))["payload"]["email"] == FORGOTTEN
