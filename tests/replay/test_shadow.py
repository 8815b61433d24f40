"""A read model is rebuilt from nothing beside the one in use, and takes its place without a moment in between."""

import asyncio

import pytest

from busredis import Daemon, DomainEvent, Router
from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.daemon.shadow import Shadow
from busredis.delivery.model import Delivery, Effect, Outcome, Verdict
from busredis.delivery.pending import Pending
from busredis.errors import RegistrationError, ReplayRefused
from busredis.replay import Rebuilt, discard, switch_everywhere, switch_over
from busredis.retention import trim_before
from busredis.settings import Settings
from tests.meddled import Killed, meddled

WHOLE = ("0-1", "99999999999999-0")


class ShadowPaid(DomainEvent):
    account: str = ""
    cents: int = 0


class ShadowClosed(DomainEvent):
    account: str = ""


@pytest.fixture
def publish(publisher):
    return lambda *events: publisher.publish_many(events)


class Totals:
    """A projection; `factor` is the mistake that a rebuild corrects."""

    def __init__(self, server, namespace, folder=None):
        self.factor, self.replaying, self.router = 1, set(), Router()
        self.settings = Settings.load(
            url=server.url,
            namespace=namespace,
            archive=folder and str(folder),
            sweep="0.05",
            block="0.05",
            lease="2",
        )
        self.router.on(ShadowPaid, ShadowClosed, name="totals", max_attempts=2, backoff=0.0)(self.handle)

    async def handle(self, event, ctx):
        self.replaying.add(ctx.replaying)
        if isinstance(event, ShadowClosed):
            ctx.effects.add("SADD", ctx.view("closed"), event.account)
            return
        if event.cents == 13:
            raise ValueError("unlucky")
        ctx.effects.add("HINCRBY", ctx.view("totals"), event.account, event.cents * self.factor)

    def run(self):
        asyncio.run(Daemon(self.router, burst=True, **self.settings.model_dump() | {"archive": None}).serve())

    def shadow(self, name="new", bounds=WHOLE, **options):
        [handler] = self.router
        return Shadow(handler, name, bounds, self.settings, **options)

    def rebuild(self, name="new", **options):
        self.replaying.clear()
        return asyncio.run(self.shadow(name, **options).run())


@pytest.fixture
def totals(server, namespace, tmp_path):
    return Totals(server, namespace, tmp_path / "cold")


def views(inspect, keys):
    kinds = {b"hash": inspect.hgetall, b"set": inspect.smembers, b"string": inspect.get}
    return {
        key.decode().partition(":view:")[2]: kinds[inspect.type(key)](key)
        for key in inspect.scan_iter(keys.every_view())
    }


def positions(done):
    return {name: done.reached.get(name, "0-0") for name in ("ShadowPaid", "ShadowClosed")}


def paid(*cents):
    return [ShadowPaid(account="a", cents=one) for one in cents]


def test_a_read_model_is_rebuilt_beside_the_one_in_use_and_switched_over(
    totals, publish, client, inspect, keys
):
    publish(*paid(1, 2, 3), ShadowClosed(account="a"))
    totals.factor = 10
    totals.run()
    inspect.set(keys.view("old-of-mine"), "x")
    inspect.set(keys.view("of-another"), "y")
    totals.factor = 1

    done = totals.rebuild()

    assert totals.replaying == {True}
    assert (done.copied, done.dead) == (4, 0)
    assert views(inspect, keys) == {
        "totals": {b"a": b"60"},
        "closed": {b"a"},
        "totals@new": {b"a": b"6"},
        "closed@new": {b"a"},
        "old-of-mine": b"x",
        "of-another": b"y",
    }

    client.run(switch_over(keys.shadow("new"), "totals", positions(done), drop="*mine"))

    assert views(inspect, keys) == {"totals": {b"a": b"6"}, "closed": {b"a"}, "of-another": b"y"}
    assert [key for key in inspect.scan_iter(keys.everything) if b"new" in key and b":once:" not in key] == []
    publish(*paid(4))
    totals.run()
    assert views(inspect, keys)["totals"] == {b"a": b"10"}


def test_what_comes_while_it_is_rebuilt_is_counted_once(totals, publish, client, inspect, keys):
    publish(*paid(1, 2))
    totals.run()
    done = totals.rebuild()
    publish(*paid(4, 8))
    totals.run()  # the group is ahead of the shadow
    publish(*paid(16))
    stream = keys.stream("ShadowPaid")
    inspect.xreadgroup("totals", "waiting-0", {stream: ">"}, count=1)  # and has one in hand

    client.run(switch_over(keys.shadow("new"), "totals", positions(done)))
    totals.run()

    assert views(inspect, keys) == {"totals": {b"a": b"31"}}


def test_an_effect_of_before_the_switch_is_not_applied_after_it(totals, publish, client, inspect, keys):
    publish(*paid(1))
    totals.run()
    done = totals.rebuild()
    publish(*paid(2))
    stream = keys.stream("ShadowPaid")
    [[_, [(entry_id, _)]]] = inspect.xreadgroup("totals", "daemon", {stream: ">"}, count=1)
    in_hand = Delivery(stream, ShadowPaid, entry_id, [], 1, "daemon", 0.0)
    outcome = Outcome(Verdict.ACK, effects=(Effect("HINCRBY", keys.view("totals"), (b"a", b"2")),))

    client.run(switch_over(keys.shadow("new"), "totals", positions(done)))

    assert client.run(Pending(keys, "totals", "daemon", [stream]).apply(1, [(in_hand, outcome)])) == ["lost"]
    totals.run()
    assert views(inspect, keys) == {"totals": {b"a": b"3"}}


def test_it_is_rebuilt_from_the_archive_and_redis_together(  # noqa: PLR0917
    totals, publish, client, inspect, keys, namespace, tmp_path
):
    ids = publish(*paid(*range(14, 614)), ShadowClosed(account="b"))
    totals.run()
    Archiver(client, keys, Archive(str(tmp_path / "cold"), namespace), ids[300]).run()
    assert inspect.xlen(keys.stream("ShadowPaid")) == 300

    done = totals.rebuild()

    assert done.copied == 601
    found = views(inspect, keys)
    assert found["totals@new"] == found["totals"] == {b"a": b"%d" % sum(range(14, 614))}


def test_a_shadow_that_was_interrupted_goes_on_where_it_was(totals, publish, client, inspect, keys):
    ids = publish(*paid(*range(14, 214)))
    totals.rebuild(bounds=("0-1", ids[99]))
    assert inspect.hgetall(keys.shadow("new").view("totals")) == {b"a": b"%d" % sum(range(14, 114))}

    done = totals.rebuild()

    assert done.copied == 100
    assert inspect.hgetall(keys.shadow("new").view("totals")) == {b"a": b"%d" % sum(range(14, 214))}


def test_killed_right_after_the_switch_a_second_rebuild_begins_anew(totals, publish, client, inspect, keys):
    publish(*paid(1, 2))
    totals.run()
    done = totals.rebuild()

    def kill_once_it_is_switched(_request):
        if not inspect.exists(keys.shadow("new").view("totals")):
            raise Killed

    with pytest.raises(Killed):
        flow = switch_over(keys.shadow("new"), "totals", positions(done))
        client.run(meddled(flow, kill_once_it_is_switched))
    publish(*paid(4))

    done = totals.rebuild()
    client.run(switch_over(keys.shadow("new"), "totals", positions(done)))

    assert views(inspect, keys) == {"totals": {b"a": b"7"}}


def test_entries_that_were_trimmed_before_the_switch_are_not_left_out(totals, publish, client, inspect, keys):
    publish(*paid(1, 2))
    totals.run()
    [part] = totals.rebuild().parts
    at = [Rebuilt(part.keys, part.reached, part.horizon)]
    publish(*paid(4))
    totals.run()
    client.run(trim_before(keys, "ShadowPaid", "99999999999999-0"))

    with pytest.raises(ReplayRefused, match="were trimmed that the shadow has not had yet"):
        client.run(switch_everywhere(at, "totals", "0-1"))

    assert views(inspect, keys)["totals"] == {b"a": b"7"}


def test_what_was_trimmed_after_the_shadow_had_it_is_not_in_the_way(totals, publish, client, inspect, keys):
    publish(*paid(1, 2))
    totals.run()
    [part] = totals.rebuild().parts
    client.run(trim_before(keys, "ShadowPaid", "99999999999999-0"))

    client.run(switch_everywhere([Rebuilt(part.keys, part.reached, part.horizon)], "totals", "0-1"))

    assert views(inspect, keys) == {"totals": {b"a": b"3"}}


def test_dead_letters_of_a_shadow_are_its_own(totals, publish, client, inspect, keys):
    publish(*paid(1, 13, 2))

    done = totals.rebuild()

    assert done.dead == inspect.xlen(keys.dead("new")) == 1
    assert inspect.xlen(keys.dead("totals")) == 0
    client.run(discard(keys.shadow("new")))
    assert views(inspect, keys) == {}


def test_the_rate_is_kept(totals, publish):
    publish(*paid(*range(20, 60)))
    shadow = totals.shadow(rate=80)
    loop_time = []

    async def measured():
        started = asyncio.get_running_loop().time()
        await shadow.run()
        loop_time.append(asyncio.get_running_loop().time() - started)

    asyncio.run(measured())

    assert loop_time[0] >= 0.5  # from below: however slow the machine is, it takes no less


def test_handlers_with_side_effects_have_no_shadow_unless_asked(server, namespace):
    router = Router()
    router.on(ShadowPaid, name="mailer", side_effects=True)(lambda event: None)
    [handler] = router
    settings = Settings.load(url=server.url, namespace=namespace)

    with pytest.raises(RegistrationError, match="--with-side-effects"):
        Shadow(handler, "new", WHOLE, settings)
    assert Shadow(handler, "new", WHOLE, settings, with_side_effects=True).handler.name == "new"


def test_a_shadow_cannot_write_to_a_read_model_in_use(totals, publish, inspect, keys):
    router = Router()

    @router.on(ShadowPaid, name="totals", max_attempts=1)
    async def wrong(event: ShadowPaid, ctx) -> None:
        ctx.effects.add("SET", keys.view("totals"), "x")

    totals.router = router
    publish(*paid(1))

    assert totals.rebuild().dead == 1
    assert views(inspect, keys) == {}


def test_a_shadow_without_read_models_is_not_switched_over(client, keys, inspect):
    with pytest.raises(ReplayRefused, match="has made no read model"):
        client.run(switch_over(keys.shadow("new"), "totals", {}))
