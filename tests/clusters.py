"""A real cluster, and a master with replicas and sentinels, on loopback, formed by commands alone."""

import os
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import redis

from busredis.cluster import SLOTS, slot_of
from busredis.keys import Keys
from tests.servers import TestServer, chosen_server, free_port
from tests.waiting import wait_until

_NODE = {
    "cluster_enabled": "yes",
    "cluster_node_timeout": "1000",
    "cluster_replica_validity_factor": "0",
    "repl_diskless_sync_delay": "0",
    "repl_ping_replica_period": "1",
}


def ask(server: TestServer, *command):
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        return client.execute_command(*command)


class TestCluster:
    """Masters with one replica each; `kill` and `restart` of a node are those of TestServer."""

    __test__ = False

    def __init__(self, folder: Path, *, masters: int = 3, replicas: bool = True, **options: str) -> None:
        _, binary = chosen_server()
        count = masters * (2 if replicas else 1)
        self.nodes = [TestServer(binary, folder / f"node-{n}", **_NODE, **options) for n in range(count)]
        self.masters = self.nodes[:masters]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        with self._stack as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._form()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _form(self) -> None:
        for number, node in enumerate(self.nodes, 1):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number)
            if number > 1:
                ask(node, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        share = SLOTS // len(self.masters) + 1
        for number, master in enumerate(self.masters):
            ask(master, "CLUSTER", "ADDSLOTS", *range(number * share, min(SLOTS, (number + 1) * share)))
        wait_until(
            lambda: all(self.info(n)["cluster_known_nodes"] == str(len(self.nodes)) for n in self.nodes),
            "all have met",
        )
        for replica, master in zip(self.nodes[len(self.masters) :], self.masters, strict=False):
            master_id = self.id_of(master)
            wait_until(lambda r=replica, m=master_id: self._replicates(r, m), "a replica follows its master")
        wait_until(self.is_whole, "the cluster is whole")

    def _replicates(self, replica: TestServer, master_id: str) -> bool:
        with suppress(redis.ResponseError):  # it does not know the master yet
            ask(replica, "CLUSTER", "REPLICATE", master_id)
            return True
        return False

    def info(self, node: TestServer) -> dict[str, str]:
        raw = ask(node, "CLUSTER", "INFO")
        text = raw if isinstance(raw, dict) else dict(line.split(":") for line in raw.decode().split())
        return {str(name): str(value) for name, value in text.items()}

    def id_of(self, node: TestServer) -> str:
        found = ask(node, "CLUSTER", "MYID")
        return found.decode() if isinstance(found, bytes) else found

    def role(self, node: TestServer) -> dict:
        with redis.Redis(port=node.port, socket_timeout=5) as client:
            return client.info("replication")

    def is_whole(self) -> bool:
        """Every node is there, agrees, and every replica is in step."""
        for node in self.nodes:
            with suppress(redis.RedisError, OSError):
                role = self.role(node)
                linked = role["role"] == "master" or role["master_link_status"] == "up"
                served = (
                    role["role"] != "master"
                    or len(self.nodes) == len(self.masters)
                    or role["connected_slaves"]
                )
                if self.info(node)["cluster_state"] == "ok" and linked and served:
                    continue
            return False
        return True

    def masters_now(self) -> list[TestServer]:
        """Who owns slots, after whatever failover there was."""
        ports = {master[1] for _, _, master, *_ in self.slots()}
        return [node for node in self.nodes if node.port in ports]

    def owner(self, slot: int) -> TestServer:
        for first, last, master, *_ in self.slots():
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise AssertionError(f"nobody has slot {slot}")

    def slots(self) -> list:
        for node in self.nodes:
            with suppress(redis.RedisError, OSError), redis.Redis(port=node.port, socket_timeout=5) as client:
                client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
                return client.execute_command("CLUSTER SLOTS")
        raise AssertionError("no node answers")

    def move_slot(self, slot: int, target: TestServer) -> None:
        """Moves a slot and its keys, a key at a time, as redis-cli --cluster reshard does."""
        source = self.owner(slot)
        source_id, target_id = self.id_of(source), self.id_of(target)
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 10):
            ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        ask(target, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
        ask(source, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


class Sentinels:
    """A master, two replicas and three sentinels that watch them as `main`."""

    __test__ = False

    def __init__(self, folder: Path, **options: str) -> None:
        _, self._binary = chosen_server()
        self._folder = folder
        self.servers = [
            TestServer(self._binary, folder / f"server-{n}", repl_diskless_sync_delay="0", **options)
            for n in range(3)
        ]
        self.ports: list[int] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{port}" for port in self.ports) + "/main/0"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._end)
            for server in self.servers:
                stack.enter_context(server)
            for replica in self.servers[1:]:
                ask(replica, "REPLICAOF", "127.0.0.1", self.servers[0].port)
            for number in range(3):
                self._start(number)
            wait_until(self.is_ready, "the sentinels know each other and the replica", 30)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, number: int) -> None:
        folder = self._folder / f"sentinel-{number}"
        folder.mkdir(parents=True)
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {self.servers[0].port} 2\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 6000\n"
        )
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [str(self._binary), "sentinel.conf", "--sentinel"],
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        self.ports.append(port)

    def is_ready(self) -> bool:
        """The sentinels know each other, and the replicas are in step."""
        for port in self.ports:
            try:
                with redis.Redis(port=port, socket_timeout=2) as sentinel:
                    state = sentinel.sentinel_master("main")
            except (redis.RedisError, OSError):
                return False
            if int(state["num-other-sentinels"]) < 2 or int(state["num-slaves"]) < 2:
                return False
        with redis.Redis(port=self.master().port, socket_timeout=2) as master:
            role = master.info("replication")
        return sum(role.get(f"slave{n}", {}).get("state") == "online" for n in range(2)) == 2

    def master(self) -> TestServer:
        """Who the sentinels say is the master."""
        with redis.Redis(port=self.ports[0], socket_timeout=2) as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name("main")
        return next(server for server in self.servers if server.port == int(port))

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(timeout=10)


def move_slots(cluster: TestCluster, partitions: list[Keys]) -> None:
    """Moves the slot of each partition to another master."""
    for keys in partitions:
        owner = cluster.owner(slot_of(keys.tag))
        target = next(node for node in cluster.masters_now() if node is not owner)
        cluster.move_slot(slot_of(keys.tag), target)


def kill_the_owner(cluster: TestCluster, slot: int) -> None:
    """Until its replica is the master, and it is back as a replica."""
    victim = cluster.owner(slot)
    victim.kill()
    wait_until(lambda: cluster.owner(slot) is not victim, "its replica is promoted", 30)
    victim.restart()
    wait_until(cluster.is_whole, "the old master is a replica", 60)
