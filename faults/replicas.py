"""A replica takes the place of its primary. The docstring of a fault is its line in the table."""

import time

from faults.history import NOTHING
from faults.stage import Stage
from tests.proxy import Proxy
from tests.waiting import wait_until

#: What the replica may lag behind while its link is up.
_LAG_NS = 1_000_000_000


class Replica:
    """The replica of a run's server; its link to the primary can be stalled."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.server = stage.add_server()
        self.link = stage.keep(Proxy(stage.server.port))
        stage.command("REPLICAOF", "127.0.0.1", self.link.port, to=self.server)
        wait_until(self._is_up, "the replica is in step", 30)

    def is_in_step(self) -> bool:
        """Whether it has all that its primary has written."""
        primary = self._stage.command("INFO", "replication")
        own = self._stage.command("INFO", "replication", to=self.server)
        return primary["master_repl_offset"] == own["slave_repl_offset"]

    def take_over(self) -> None:
        """It becomes the server of the run, and the old one is gone."""
        old, self._stage.server = self._stage.server, self.server
        self._stage.command("REPLICAOF", "NO", "ONE")
        self._stage.proxy.redirect(self.server.port)
        old.kill()

    def _is_up(self) -> bool:
        info = self._stage.command("INFO", "replication", to=self.server)
        return info["master_link_status"] == "up"


def fail_over(stage: Stage) -> None:
    """The link to the replica stalls for a second, the primary is killed, the replica is promoted"""
    replica = stage.standby or Replica(stage)
    stage.let_run(0.5)
    since = time.monotonic_ns() - _LAG_NS if stage.setting.durability == "memory" else NOTHING
    with stage.fault("fail over", "repeats", "resets", "rewinds", erases_since=since):
        replica.link.stall()
        stage.let_run(1.0)
        stage.server.kill()
    replica.link.close()
    replica.take_over()
    if stage.setting.durability == "replica":
        stage.standby = Replica(stage)  # without one, nothing more would be confirmed


def switch_over(stage: Stage) -> None:
    """The primary pauses writes until the replica is in step, and the replica is promoted"""
    replica = Replica(stage)
    with stage.fault("switch over", "repeats"):
        stage.command("CLIENT", "PAUSE", 20_000, "WRITE")
        wait_until(replica.is_in_step, "the replica is in step")
        replica.take_over()
