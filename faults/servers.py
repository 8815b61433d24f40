"""Faults of the server. The docstring of a fault is its line in the table."""

import threading
from contextlib import suppress

import redis

from faults.stage import Stage
from tests.waiting import wait_until


def kill_the_server(stage: Stage) -> None:
    """SIGKILL of the server, and restart"""
    with stage.fault("kill the server", "repeats"):
        stage.server.kill()
        stage.server.restart()


def restart_the_server(stage: Stage) -> None:
    """SIGTERM of the server, and restart"""
    with stage.fault("restart the server", "repeats"):
        stage.server.restart()


def kill_the_server_while_it_rewrites(stage: Stage) -> None:
    """SIGKILL of the server while it rewrites its append-only file, and restart"""
    stage.command("CONFIG", "SET", "rdb-key-save-delay", "1000000")
    stage.command("BGREWRITEAOF")
    with stage.fault("kill the server while it rewrites", "repeats"):
        info = stage.command("INFO", "persistence")
        assert info["aof_rewrite_in_progress"] == 1, "the server does not rewrite"
        stage.server.kill()
        stage.server.restart()


def pause_the_server(stage: Stage) -> None:
    """SIGSTOP of the server for half a lease: connections stay open, nothing is answered"""
    with stage.fault("pause the server"):
        stage.server.pause()
        stage.let_run(stage.setting.lease_s / 2)
        stage.server.resume()


def pause_the_server_for_long(stage: Stage) -> None:
    """SIGSTOP of the server for 3 leases: reads time out, every lease lapses"""
    with stage.fault("pause the server for long", "repeats"):
        stage.server.pause()
        stage.let_run(stage.setting.lease_s * 3)
        stage.server.resume()


def kill_connections(stage: Stage) -> None:
    """CLIENT KILL of all connections, five times"""
    with stage.fault("kill connections"):
        killed = 0
        for _ in range(5):
            killed += stage.command("CLIENT", "KILL", "TYPE", "normal")
            stage.let_run(0.05)
        assert killed > 0, "no connection was there to be killed"


def pause_clients(stage: Stage) -> None:
    """CLIENT PAUSE for half a lease"""
    with stage.fault("pause clients"):
        stage.command("CLIENT", "PAUSE", int(stage.setting.lease_s * 500), "ALL")
        stage.let_run(stage.setting.lease_s / 2)


def let_the_server_sleep(stage: Stage) -> None:
    """DEBUG SLEEP for half a lease"""
    with stage.fault("let the server sleep"):
        stage.command("DEBUG", "SLEEP", stage.setting.lease_s / 2)


def flush_scripts(stage: Stage) -> None:
    """SCRIPT FLUSH, twenty times within a second"""
    with stage.fault("flush scripts"):
        for _ in range(20):
            stage.command("SCRIPT", "FLUSH")
            stage.let_run(0.05)


def keep_the_server_busy(stage: Stage) -> None:
    """A script of somebody else that runs for ever: BUSY for half a second, then SCRIPT KILL"""
    stage.command("CONFIG", "SET", "busy-reply-threshold", "50")

    def spin() -> None:
        with suppress(redis.ResponseError):
            stage.command("EVAL", "while true do end", 0)

    spinning = threading.Thread(target=spin)
    with stage.fault("keep the server busy"):
        spinning.start()
        stage.let_run(0.5)
        stage.command("SCRIPT", "KILL")
        spinning.join(timeout=10)
    assert not spinning.is_alive()


def fill_the_memory(stage: Stage) -> None:
    """maxmemory reached (noeviction) for half a second, then released"""
    refused = stage.count("publisher-*.log", b"\nfail ")
    with stage.fault("fill the memory", "refuses"):
        stage.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        stage.command("CONFIG", "SET", "maxmemory", "1mb")
        if stage.publishes():
            stage.wait_for_more("publisher-*.log", b"\nfail ", refused)
        stage.let_run(0.5)
        stage.command("CONFIG", "SET", "maxmemory", "0")


def make_it_read_only(stage: Stage) -> None:
    """The server becomes a replica (READONLY) for half a second, then a primary again"""
    with stage.fault("make it read-only", "refuses"):
        stage.command("REPLICAOF", "127.0.0.1", "1")
        stage.let_run(0.5)
        stage.command("REPLICAOF", "NO", "ONE")


def ask_for_a_replica_that_is_not_there(stage: Stage) -> None:
    """min-replicas-to-write 1 without a replica (NOREPLICAS) for half a second"""
    with stage.fault("ask for a replica that is not there", "refuses"):
        stage.command("CONFIG", "SET", "min-replicas-to-write", "1")
        stage.let_run(0.5)
        stage.command("CONFIG", "SET", "min-replicas-to-write", "0")


def restart_slowly(stage: Stage) -> None:
    """SIGKILL of the server, and a restart that loads for a second or more (LOADING)"""
    with stage.fault("restart slowly", "repeats"):
        stage.server.kill()
        restarting = threading.Thread(target=stage.server.restart)
        restarting.start()
        wait_until(lambda: _loads(stage) or not restarting.is_alive(), "the server loads")
        assert restarting.is_alive(), "the server was back too soon for LOADING to be seen"
        restarting.join(timeout=30)


def _loads(stage: Stage) -> bool:
    try:
        stage.command("PING")
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    return False
