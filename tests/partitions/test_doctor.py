"""busredis doctor, on real servers that are well and on some that are not."""

import json
import os
import re
from pathlib import Path

import pytest

import busredis
from busredis import Publisher
from busredis.cli import main
from busredis.client import Client
from busredis.cluster import slot_of
from busredis.doctor import Node, judge, measure
from busredis.doctor.node import NEEDED
from busredis.errors import NotSent, SettingsError
from busredis.keys import Keys
from tests.clusters import Sentinels, TestCluster, ask
from tests.partitions.conftest import run_cli
from tests.partitions.ledger import PartSettled
from tests.servers import TestServer, chosen_server
from tests.waiting import wait_until

ROOT = Path(busredis.__file__).parent


@pytest.fixture(autouse=True)
def settings(monkeypatch, namespace):
    for name in [name for name in os.environ if name.startswith("BUSREDIS_") and "TEST" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BUSREDIS_NAMESPACE", namespace)


@pytest.fixture
def start(tmp_path):
    """Starts a server of its own with these options."""
    servers = []

    def start(**options) -> TestServer:
        servers.append(TestServer(chosen_server()[1], tmp_path / f"server-{len(servers)}", **options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def doctor(url, *arguments, code=0) -> str:
    return run_cli("doctor", "--url", url, *arguments, code=code)


def problems(url, code) -> list[dict]:
    return json.loads(doctor(url, "--json", code=code))["problems"]


def test_a_healthy_server_is_said_to_be_well_and_nothing_is_written_to_it(server, inspect, namespace):
    keys_before = inspect.dbsize()
    told = doctor(server.url)

    name = chosen_server()[0].partition("-")[0]
    assert f"{server.url}, one server" in told
    assert f"{name} {chosen_server()[0].partition('-')[2]}" in told
    assert "append-only file on, appendfsync everysec" in told
    assert "maxmemory-policy noeviction" in told
    assert f"{namespace}, not used yet" in told
    assert told.endswith("all is well\n")
    assert inspect.dbsize() == keys_before


def test_every_fact_is_there_for_programs(server, namespace, look):
    with Publisher(server.url, namespace=namespace, partitions=4) as publisher:
        publisher.publish(PartSettled(cents=1))

    found = json.loads(doctor(server.url, "--json"))

    [node] = found["nodes"]
    assert (found["kind"], found["partitions"], found["resp"], found["problems"]) == ("one", 4, 2, [])
    assert (node["role"], node["replicas"], node["missing"]) == ("master", 0, [])
    assert abs(node["skew"]) < 1
    assert 0 < node["latency_ms"] <= node["slowest_ms"]
    assert {extra["package"] for extra in found["extras"]} >= {"uvloop", "pyarrow", "cryptography"}


def test_optional_commands_are_found_by_asking(server, inspect):
    [node] = json.loads(doctor(server.url, "--json"))["nodes"]

    known = (
        {command.decode().upper() for command in inspect.execute_command("COMMAND LIST")}
        if _lists()
        else None
    )
    for name in ("WAITAOF", "XACKDEL", "XDELEX", "XNACK"):
        assert node["optional"][name] == (known is not None and name in known)


def _lists() -> bool:
    return chosen_server()[0] != "redis-6.2"  # COMMAND LIST came with 7.0, and none of these before


def test_an_evicting_policy_is_a_danger(start):
    server = start(maxmemory="100mb", maxmemory_policy="allkeys-lru")

    told = doctor(server.url, code=1)

    [line] = [line for line in told.splitlines() if line.startswith("DANGER")]
    assert f"127.0.0.1:{server.port} has maxmemory-policy allkeys-lru" in line
    assert "deletes whole streams of events" in line
    assert "CONFIG SET maxmemory-policy noeviction" in line
    ask(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert "all is well" in doctor(server.url)


def test_no_append_only_file_is_a_danger_and_what_a_snapshot_saves_is_said(start):
    server = start(appendonly=False)
    [nothing] = problems(server.url, 1)
    ask(server, "CONFIG", "SET", "save", "3600 1")
    [since] = problems(server.url, 1)

    assert nothing["danger"]
    assert since["danger"]
    assert "loses every event, for it writes nothing to disk" in nothing["may"]
    assert "since its last snapshot on disk (save 3600 1)" in since["may"]
    assert "CONFIG SET appendonly yes" in nothing["do"]


def test_a_command_that_is_not_there_is_a_danger(start, tmp_path):
    (tmp_path / "hardened.conf").write_text("rename-command XCLAIM gone\n")
    [found] = problems(start(include=str(tmp_path / "hardened.conf")).url, 1)

    assert "has no XCLAIM" in found["what"]


def test_appendfsync_no_is_a_danger(start):
    [found] = problems(start(appendfsync="no").url, 1)

    assert "appendfsync no" in found["what"]


def test_a_replica_a_full_memory_and_a_durability_that_cannot_be_are_told(start, monkeypatch):
    master = start()
    replica = start()
    ask(replica, "REPLICAOF", "127.0.0.1", master.port)
    wait_until(lambda: ask(replica, "INFO", "replication")["master_link_status"] == "up", "it is in step")
    ask(master, "CONFIG", "SET", "maxmemory", ask(master, "INFO", "memory")["used_memory"] + 50_000)
    monkeypatch.setenv("BUSREDIS_DURABILITY", "fsync")

    assert problems(replica.url, 1)[0]["what"] == f"127.0.0.1:{replica.port} is a replica"
    found = problems(master.url, 0 if chosen_server()[0] == "redis-8.2" else 1)
    full = [one for one in found if "of its maxmemory" in one["what"]]
    refused = [one for one in found if one["may"] == "every publish is refused"]
    assert [one["danger"] for one in full] == [False]
    assert len(refused) == (0 if chosen_server()[0] == "redis-8.2" else 1)


def test_what_the_server_does_not_tell_is_unknown_and_no_danger(start):
    server = start()
    ask(
        server,
        "ACL",
        "SETUSER",
        "shy",
        "on",
        ">pw",
        "~*",
        "+@all",
        "-info",
        "-config",
        "-command",
        "-cluster",
    )

    told = doctor(f"redis://shy:pw@127.0.0.1:{server.port}/0")

    assert "does not answer INFO" in told
    assert "append-only file unknown, appendfsync unknown" in told
    assert "pw" not in told
    assert "shy" not in told


def test_settings_that_do_not_fit_the_namespace_are_told(server, namespace, inspect, monkeypatch):
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(PartSettled(cents=1))
    monkeypatch.setenv("BUSREDIS_PARTITIONS", "4")
    monkeypatch.setenv("BUSREDIS_DURABILITY", "replica")

    whats = [one["what"] for one in problems(server.url, 1)]

    assert f"namespace '{namespace}' has 1 partition(s), and BUSREDIS_PARTITIONS is 4" in whats
    assert any('BUSREDIS_DURABILITY is "replica"' in what for what in whats)


def test_a_cluster_is_told_node_by_node_and_who_takes_a_node_for_all_is_told_the_url(
    tmp_path, namespace, monkeypatch, capsys
):
    with TestCluster(tmp_path, replicas=False, cluster_require_full_coverage="no") as cluster:
        with Publisher(cluster.url, namespace=namespace) as publisher:
            publisher.publish(PartSettled(cents=1))
        well = doctor(cluster.url)
        ask(cluster.nodes[1], "CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        found = json.loads(doctor(cluster.url, "--json", code=1))
        owner = cluster.owner(slot_of(Keys(namespace).partitions))
        other = next(node for node in cluster.nodes if node is not owner)
        monkeypatch.setattr("sys.argv", ["busredis", "status", "--url", other.url])
        with pytest.raises(SystemExit):
            main()
        assert "this server is a node of a cluster: write redis+cluster://HOST" in capsys.readouterr().err

    assert "3 master(s)" in well
    for node in cluster.nodes:
        assert f"127.0.0.1:{node.port}" in well
    assert "the namespace has one partition; all of it is on one node of the cluster" in well
    assert "has no replica" in well
    assert "DANGER" not in well
    [danger] = [one["what"] for one in found["problems"] if one["danger"]]
    assert danger == f"127.0.0.1:{cluster.nodes[1].port} has maxmemory-policy volatile-ttl"
    assert {node["address"] for node in found["nodes"]} == {
        f"127.0.0.1:{node.port}" for node in cluster.nodes
    }


def test_a_master_that_sentinels_name_is_told_by_its_own_address(tmp_path):
    with Sentinels(tmp_path) as sentinels:
        told = doctor(sentinels.url)
        master = sentinels.master()

    assert f"{sentinels.url}, found by sentinels" in told
    assert f"at 127.0.0.1:{master.port}, master" in told
    assert "replicas     2\n" in told
    assert told.endswith("all is well\n")


def test_no_server_is_an_error_in_a_sentence(free_port, tmp_path, monkeypatch):
    with pytest.raises(NotSent, match=f"no connection to redis://127.0.0.1:{free_port}"):
        doctor(f"redis://127.0.0.1:{free_port}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(SettingsError, match="no server: set BUSREDIS_URL"):
        run_cli("doctor")


def test_a_clock_that_differs_is_told_once_it_differs_by_more_than_a_round_trip_can_explain(
    server, monkeypatch
):
    client = Client(server.url)
    node = Node("here", kind="valkey", role="master")
    monkeypatch.setattr("busredis.doctor.node.time.time", lambda: 1_000.0)
    measure(client, node, 3)
    client.close()

    [problem] = judge(node)
    assert "ahead of that of this machine" in problem.what
    assert not problem.danger
    node.skew, node.skew_within = 3.0, 2.5
    assert judge(node) == []


def test_every_command_of_a_script_is_asked_for():
    scripts = [path.read_text() for path in ROOT.glob("lua/*.lua")]

    sent = {name for text in scripts for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert len(sent) > 30
    assert sent - set(NEEDED) == set()


def test_what_a_node_says_of_itself_is_judged():
    well = Node("here", kind="redis", role="master", aof="on", appendfsync="everysec", policy="noeviction")

    def told(**facts) -> str:
        [problem] = judge(Node(**{**vars(well), **facts}))
        return f"{problem.danger} {problem}"

    assert judge(well) == []
    assert told(missing=["XCLAIM"]).startswith(
        "True here has no XCLAIM; publishers, daemons and commands that need them fail; "
    )
    assert told(writes_ok=False).startswith("True here could not write to its disk the last time; ")
    assert told(cluster_state="fail").startswith(
        "True the cluster is not whole, says here (cluster_state fail); "
    )
    assert told(replicas=2, replicas_behind=1).startswith("False 1 of 2 replica(s) of here are not in step; ")
