"""Every scenario by name: one fault, injected again and again, or several of them in random order."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from faults import data, network, power, processes, replicas, servers
from faults.stage import Setting, Stage

Injection = Callable[[Stage], None]


@dataclass(frozen=True)
class Scenario:
    """`times` injections of one of `injections` each, with about `gap_s` of work between two of them."""

    name: str
    injections: tuple[Injection, ...]
    setting: Setting = field(default_factory=Setting)
    times: int = 3
    gap_s: float = 0.8
    remark: str = ""
    #: Whether some run must have ended when the entry was another daemon's already.
    fences: bool = False

    @property
    def what(self) -> str:
        """What is injected, and what is special about the run, in a line."""
        docs = [(injection.__doc__ or "").strip() for injection in self.injections]
        if not docs:
            injected = "No fault"
        elif len(docs) == 1:
            injected = docs[0]
        else:
            injected = "Several faults in random order"
        return f"{injected}; {self.remark}" if self.remark else injected

    def plan(self, chance: random.Random) -> list[Injection]:
        """What to inject, in order: each at least once if there is room, all of it from the seed."""
        rounds = [
            one for _ in range(self.times) for one in chance.sample(self.injections, len(self.injections))
        ]
        return rounds[: self.times]


_PROXIED = Setting(proxied=True, lease_s=3.0)
#: A lease that outlives what the network swallows: nothing is to run again for it.
_CUT = Setting(proxied=True, lease_s=10.0)
_TRACED = Setting(traced=True)
_ALWAYS = {"appendfsync": "always"}
_DEBUG = {"enable_debug_command": "yes"}
#: Where a sync is waited for, what is appended together must be worth it.
_FSYNC = Setting(durability="fsync", publishers=4, batch=2_000, seconds=14.0)
#: A pause for each command that is loaded, during which the server answers.
_SLOW_LOAD = {"key_load_delay": "200", "loading_process_events_interval_bytes": "1024"}

#: Faults that any run through a proxy can take, one after another.
MIXED: tuple[Injection, ...] = (
    processes.kill_a_daemon,
    processes.kill_all_daemons,
    processes.stop_a_daemon,
    processes.freeze_a_daemon_briefly,
    processes.make_a_zombie,
    servers.kill_the_server,
    servers.restart_the_server,
    servers.pause_the_server,
    servers.kill_connections,
    servers.pause_clients,
    servers.let_the_server_sleep,
    servers.flush_scripts,
    servers.keep_the_server_busy,
    servers.fill_the_memory,
    servers.make_it_read_only,
    network.delay_requests,
    network.cut_connections,
    network.lose_requests,
    network.lose_replies,
    network.lose_reads,
    network.tear_replies,
    network.tear_reads,
    network.stall_the_network,
    data.destroy_a_group,
    data.set_the_clock_ahead,
)


def _of_processes() -> Iterator[Scenario]:
    three = Setting(daemons=3, publishers=4)
    yield Scenario(
        "none-ordered", (), Setting(daemons=1, ordered=True), 0, remark="one daemon, order checked"
    )
    yield Scenario("none", (), three, 0, remark="three daemons, four publishers")
    yield Scenario("kill-daemon", (processes.kill_a_daemon,), replace(three, lease_s=1.0), 8)
    yield Scenario("kill-all-daemons", (processes.kill_all_daemons,), Setting(lease_s=1.0))
    yield Scenario("stop-daemon", (processes.stop_a_daemon,), three, 5)
    yield Scenario("freeze-daemon", (processes.freeze_a_daemon_briefly,), replace(three, seconds=9.0), 5)
    zombie = replace(three, lease_s=1.0, seconds=11.0)
    yield Scenario("zombie", (processes.make_a_zombie,), zombie, fences=True)
    yield Scenario("freeze-all-daemons", (processes.freeze_all_daemons,), Setting(lease_s=1.0, seconds=7.0))
    yield Scenario("kill-publisher", (processes.kill_a_publisher,), Setting(publishers=4))


def _of_servers() -> Iterator[Scenario]:
    killed = (servers.kill_the_server,)
    many = Setting(seconds=12.0, publishers=4)
    yield Scenario("kill-server", killed, many, 10, remark="everysec")
    yield Scenario("kill-server-always", killed, replace(many, server=_ALWAYS), 25, 0.3, "appendfsync always")
    synced = replace(many, server=_ALWAYS, durability="fsync")
    yield Scenario("kill-server-fsync", killed, synced, 25, 0.3, "appendfsync always, durability=fsync")
    yield Scenario("restart-server", (servers.restart_the_server,), Setting(), 4)
    yield Scenario("kill-server-rewriting", (servers.kill_the_server_while_it_rewrites,), Setting(), 4)
    yield Scenario("pause-server", (servers.pause_the_server,), Setting())
    yield Scenario("pause-server-long", (servers.pause_the_server_for_long,), Setting(lease_s=1.0), 2)
    yield Scenario("client-kill", (servers.kill_connections,), Setting(), 5)
    yield Scenario("client-pause", (servers.pause_clients,), Setting())
    yield Scenario("debug-sleep", (servers.let_the_server_sleep,), Setting(server=_DEBUG))
    yield Scenario("script-flush", (servers.flush_scripts,), Setting())
    yield Scenario("busy", (servers.keep_the_server_busy,), Setting(), 4)
    yield Scenario("out-of-memory", (servers.fill_the_memory,), Setting(), 4)
    yield Scenario("read-only", (servers.make_it_read_only,), Setting(), 4)
    yield Scenario("no-replicas", (servers.ask_for_a_replica_that_is_not_there,), Setting(), 4)
    yield Scenario("loading", (servers.restart_slowly,), Setting(server=_SLOW_LOAD), 2, 1.5)


def _of_the_network() -> Iterator[Scenario]:
    yield Scenario("delay", (network.delay_requests,), _PROXIED)
    yield Scenario("cut", (network.cut_connections,), _CUT, 5)
    yield Scenario("lost-requests", (network.lose_requests,), _CUT, 5)
    yield Scenario("lost-replies", (network.lose_replies,), _CUT, 5)
    yield Scenario("lost-reads", (network.lose_reads,), _CUT, 5)
    yield Scenario("torn-replies", (network.tear_replies,), _CUT, 5)
    yield Scenario("torn-reads", (network.tear_reads,), _CUT, 5)
    yield Scenario("stall", (network.stall_the_network,), _PROXIED)
    yield Scenario(
        "half-open", (network.strand_connections,), replace(_PROXIED, timeout_s=3.0, seconds=8.0), 1
    )


def _of_data() -> Iterator[Scenario]:
    yield Scenario("flushall", (data.flush_everything,))
    yield Scenario("delete-stream", (data.delete_the_stream,))
    yield Scenario("destroy-group", (data.destroy_a_group,), times=4)
    yield Scenario("clock-back", (data.set_the_clock_ahead,))


def _of_disks_and_replicas() -> Iterator[Scenario]:
    fail, switch, power_loss = (replicas.fail_over,), (replicas.switch_over,), (power.lose_power,)
    replicated = replace(_PROXIED, durability="replica", seconds=9.0)
    yield Scenario("failover", fail, replace(_PROXIED, seconds=9.0), 2, remark="durability=memory")
    yield Scenario("failover-replica", fail, replicated, 2, remark="durability=replica")
    yield Scenario("switchover", switch, _PROXIED, 2)
    always = replace(_TRACED, server=_ALWAYS, publishers=4, batch=50, seconds=8.0)
    yield Scenario("power", power_loss, replace(_TRACED, seconds=12.0), 4, 1.8, "everysec, durability=memory")
    yield Scenario("power-always", power_loss, always, 10, 0.5, "appendfsync always")
    fsync = replace(always, durability="fsync")
    yield Scenario("power-fsync", power_loss, fsync, 10, 0.5, "appendfsync always, durability=fsync")
    waits = replace(_FSYNC, traced=True, program="redis-8.2")
    yield Scenario("power-waitaof", power_loss, waits, 8, 1.3, "everysec, durability=fsync, on Redis 8.2")


def scenarios() -> dict[str, Scenario]:
    """All of them by name, in the order of the table."""
    parts = (_of_processes, _of_servers, _of_the_network, _of_data, _of_disks_and_replicas)
    found = [scenario for part in parts for scenario in part()]
    mixed = replace(_PROXIED, seconds=12.0, daemons=3, server=_DEBUG)
    found += [Scenario(f"mixed-{n}", MIXED, mixed, 8, remark="eight of 25, by seed") for n in range(1, 5)]
    return {scenario.name: scenario for scenario in found}
