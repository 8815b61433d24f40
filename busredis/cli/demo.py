"""The demo: catalog events, daemons in processes of their own, a SIGKILL, a retry, a dead letter and its return."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from busredis.catalog import (
    ActionEvaluatedEvent,
    PermissionGrantedEvent,
    TaskCompletedEvent,
    UserLoggedInEvent,
)
from busredis.cli.options import print_table
from busredis.client import Client
from busredis.commands import raw
from busredis.dead_letters import DeadLetters
from busredis.errors import BusError
from busredis.events import DomainEvent
from busredis.keys import Keys
from busredis.publisher import Publisher
from busredis.server import EmbeddedServer
from busredis.status import Status, read_status

_EVENTS = 4_000
_PATIENCE_SECONDS = 40.0


class Demo:
    """One run of the demo, in a namespace of its own."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.server = EmbeddedServer()
        self.namespace = f"demo-{uuid.uuid4().hex[:6]}"
        self.keys = Keys(self.namespace)
        self.daemons: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """0 if everything that was published was handled by every group or is a dead letter; else 1."""
        self.url = self.server.start()
        self.client = Client(self.url)
        self.console.print(f"server: {self.server.version} at {self.url}, namespace {self.namespace}\n")
        try:
            for _ in range(2):
                self._start_daemon()
            published = self._publish()
            self._kill_one()
            self._wait(lambda: self._left() == 0, "all is handled")
            self._tell_retries()
            self._redeliver()
            return self._report(published)
        finally:
            for daemon in self.daemons:
                daemon.send_signal(signal.SIGTERM)
            for daemon in self.daemons:
                daemon.wait(timeout=20)

    def _start_daemon(self) -> None:
        environment = {**os.environ, "BUSREDIS_URL": self.url, "BUSREDIS_NAMESPACE": self.namespace}
        environment |= {"BUSREDIS_LEASE": "PT2S", "BUSREDIS_SWEEP": "PT0.2S"}
        command = [
            sys.executable,
            "-m",
            "busredis",
            "run",
            "busredis.cli.demo_handlers",
            "--log-level",
            "ERROR",
        ]
        log = (self.server.folder / "demo.log").open("ab")
        self.daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))  # noqa: S603
        log.close()

    def _publish(self) -> dict[str, int]:
        made: list[DomainEvent] = []
        for number in range(_EVENTS // 4):
            user = f"user-{number % 50}"
            made += [
                UserLoggedInEvent(
                    username=user, session_id=f"s-{number}", ip_address="192.0.2.7", aggregate_id=user
                ),
                ActionEvaluatedEvent(
                    action="deploy", decision="DENY" if number % 5 == 0 else "ALLOW", aggregate_id=user
                ),
                PermissionGrantedEvent(username=user, resource="vault", action="read", granted_by="root"),
                TaskCompletedEvent(
                    agent_id=f"agent-{number % 7}", task_id=f"t-{number}", execution_time_ms=12.5
                ),
            ]
        made.append(TaskCompletedEvent(agent_id="agent-of-doom", task_id="t-doom"))
        started = time.monotonic()
        with Publisher(self.url, namespace=self.namespace) as publisher:
            publisher.publish_many(made)
        took = time.monotonic() - started
        self.console.print(
            f"published {len(made):,} events of 4 types in {took:.2f} s ({len(made) / took:,.0f}/s)"
        )
        counts: dict[str, int] = {}
        for event in made:
            counts[event.event_type] = counts.get(event.event_type, 0) + 1
        return counts

    def _kill_one(self) -> None:
        self._wait(lambda: self._handled() > _EVENTS // 8, "the daemons are at work")
        victim = self.daemons.pop(0)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        held = sum(group.pending for group in self._status().groups)
        self.console.print(f"killed daemon {victim.pid} (SIGKILL) at work; {held} entries were in hand")
        self._start_daemon()
        self.console.print("its entries are taken over once its lease of 2 s has passed ...")

    def _tell_retries(self) -> None:
        for group in self._status().groups:
            retried = group.times.outcomes.get("retry", 0) if group.times else 0
            if retried:
                self.console.print(
                    f"{group.group}: {retried} attempt(s) failed and the event was tried again later"
                )

    def _redeliver(self) -> None:
        letters = DeadLetters([self.keys])
        dead = self.client.run(letters.list("task-durations"))
        for letter in dead:
            self.console.print(
                f"dead letter: {letter.event_type} {letter.entry_id} after {letter.attempts} attempts: {letter.error}"
            )
            self.client.run(raw("SET", self.keys.view("doom-is-over"), 1).__iter__())
            self.client.run(letters.retry(letter))
        self._wait(lambda: self._left() == 0 and not self._dead(), "the dead letter is handled")
        self.console.print("its cause was removed, it was handed back to its group alone, and handled\n")

    def _report(self, published: dict[str, int]) -> int:
        rows: list[list[object]] = []
        wrong = 0
        for group in self._status().groups:
            for event_type in group.event_types:
                key = self.keys.view(f"handled:{group.group}:{event_type}")
                handled = self.client.run(raw("SCARD", key).__iter__())
                runs = int(self.client.run(raw("GET", f"{key}:runs").__iter__()) or 0)
                verdict = "ok" if handled == published[event_type] else "LOST"
                wrong += verdict != "ok"
                rows.append(
                    [group.group, event_type, published[event_type], handled, runs - handled, verdict]
                )
        print_table("Published and handled", ["group", "type", "published", "handled", "run again", ""], rows)
        self.console.print("try:")
        for line in (
            f"{self.server.redis_cli} XRANGE '{self.keys.stream('UserLoggedInEvent')}' - + COUNT 2",
            f"{self.server.redis_cli} XINFO GROUPS '{self.keys.stream('UserLoggedInEvent')}'",
            f"{Path(sys.executable).parent / 'busredis'} status --namespace {self.namespace}",
            f"{Path(sys.executable).parent / 'busredis'} down",
        ):
            self.console.print(f"  {line}", markup=False, soft_wrap=True)
        return 1 if wrong or not rows else 0

    def _status(self) -> Status:
        return self.client.run(read_status([self.keys]))

    def _left(self) -> int:
        groups = self._status().groups
        return sum(g.lag + g.pending + g.waiting for g in groups) if groups else -1

    def _dead(self) -> int:
        return sum(group.dead for group in self._status().groups)

    def _handled(self) -> int:
        return sum(group.times.count for group in self._status().groups if group.times)

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not done():
            if time.monotonic() > until:
                raise BusError(f"the demo waited {_PATIENCE_SECONDS:.0f} s and it did not happen that {what}")
            time.sleep(0.05)
