"""Lanes: what runs the deliveries of one consumer, as many at a time as the handler's concurrency."""

import asyncio
import contextvars
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from busredis.delivery.model import RELEASE, Delivery, Outcome
from busredis.delivery.process import Process
from busredis.delivery.settle import Settler

log = logging.getLogger("busredis.delivery")

#: A process with so many threads that no timeout could end reads no more for that handler.
MAX_STUCK_THREADS = 16
#: How long handlers that never wait may keep the loop to themselves.
_TURN_S = 0.001


class Gate:
    """Closed while one suspect is run with nothing beside it; shared by all consumers of a process."""

    def __init__(self) -> None:
        self.suspects = asyncio.Lock()
        self.opened = asyncio.Event()
        self.opened.set()
        self.opened_for_threads = threading.Event()
        self.opened_for_threads.set()
        #: The lanes of every consumer of the process.
        self.lanes: list[Lanes] = []
        #: By handler, the lanes that its consumers share; None where each has its own.
        self.shared: dict[str, Any] | None = None

    def close(self) -> None:
        self.opened.clear()
        self.opened_for_threads.clear()

    def open(self) -> None:
        self.opened.set()
        self.opened_for_threads.set()


class Lanes(Protocol):
    """Takes deliveries in order and settles each."""

    def put(self, deliveries: Sequence[Delivery]) -> None: ...
    def running(self) -> list[Delivery]:
        """What is being run right now."""
        ...

    def waiting(self) -> int:
        """How many were put and not started."""
        ...

    def are_stuck(self) -> bool:
        """Whether nothing can be run for now, as all that ran it hangs."""
        ...

    def hand_back(self) -> None:
        """Releases what was not started, and starts nothing more."""
        ...

    async def cancel(self) -> None:
        """Ends what still runs, as far as it can be ended."""
        ...


async def in_daemon_thread(process: Process, delivery: Delivery) -> Outcome:
    """Runs a sync handler once. Unlike one of asyncio.to_thread, a thread that hangs does not keep the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome = process.run_blocking(delivery)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="busredis suspect", daemon=True).start()
    return await done


class TaskLanes:
    """Lanes of an async handler: long-lived tasks that await it in place. No task is made for an event."""

    def __init__(self, process: Process, settler: Settler, gate: Gate) -> None:
        self._process, self._settler, self._gate = process, settler, gate
        self._inbox: deque[Delivery] = deque()
        #: What the lanes without work wait for, each for its own.
        self._resting: deque[asyncio.Future[None]] = deque()
        self._running: list[Delivery | None] = [None] * process.handler.concurrency
        self._closed = False
        self._tasks = [asyncio.create_task(self._run(lane)) for lane in range(process.handler.concurrency)]

    def put(self, deliveries: Sequence[Delivery]) -> None:
        self._inbox.extend(deliveries)
        awake = 0
        while self._resting and awake < len(deliveries):
            rest = self._resting.popleft()
            if not rest.done():
                rest.set_result(None)
                awake += 1

    async def _run(self, lane: int) -> None:
        inbox, add, opened, process = self._inbox, self._settler.add, self._gate.opened, self._process
        turn_ends = 0.0
        while True:
            while not inbox:
                rest = asyncio.get_running_loop().create_future()
                self._resting.append(rest)
                await rest
                turn_ends = time.monotonic() + _TURN_S
            if not opened.is_set():
                await opened.wait()
                continue
            delivery = inbox.popleft()
            if self._closed or delivery.lost:
                add(delivery, RELEASE)  # lost: another daemon has it; fenced, this only forgets it here
                continue
            self._running[lane] = delivery
            outcome = await process.run(delivery)
            self._running[lane] = None
            add(delivery, outcome)
            if delivery.ended_at > turn_ends:
                # A handler that never waits would keep the loop from reading, and from acknowledging.
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _TURN_S

    def running(self) -> list[Delivery]:
        return [delivery for delivery in self._running if delivery is not None]

    def waiting(self) -> int:
        return len(self._inbox)

    def are_stuck(self) -> bool:
        return False

    def hand_back(self) -> None:
        self._closed = True
        while self._inbox:
            self._settler.add(self._inbox.popleft(), RELEASE)

    async def cancel(self) -> None:
        self._process.stopping = True
        # Twice: the first cancellation ends the handler, the second its lane, which would wait for more.
        for _ in range(2):
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=1)


class ThreadLanes:
    """Lanes of a sync handler: threads that take from one queue. A thread over its timeout is replaced."""

    def __init__(self, process: Process, settler: Settler, gate: Gate) -> None:
        self._process, self._settler, self._gate = process, settler, gate
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._running: dict[threading.Thread, Delivery] = {}
        self._given_up: set[Delivery] = set()
        #: How many threads take from the queue.
        self._places = 0
        self._closed = False
        self._lock = threading.Lock()
        for _ in range(process.handler.concurrency):
            self._start()
        timeout = process.handler.timeout
        self._watch = asyncio.create_task(self._watch_timeouts(timeout.total_seconds())) if timeout else None

    def _start(self) -> None:
        self._places += 1
        context = contextvars.copy_context()
        name = f"busredis {self._process.handler.name}"
        threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()

    def put(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._inbox.put(delivery)

    def _run(self) -> None:
        me, opened = threading.current_thread(), self._gate.opened_for_threads
        while (delivery := self._inbox.get()) is not None:
            if not opened.is_set():
                opened.wait()
            if self._closed or delivery.lost:
                self._settler.add_from_thread(delivery, RELEASE)
                continue
            self._running[me] = delivery
            outcome = self._process.run_blocking(delivery)
            with self._lock:
                # A set lookup by identity: Delivery compares as itself.
                abandoned = delivery in self._given_up
                self._given_up.discard(delivery)
                self._running.pop(me, None)
                if abandoned and not self._finds_place():
                    return
            if not abandoned:
                self._settler.add_from_thread(delivery, outcome)

    def _finds_place(self) -> bool:
        """Whether a thread that was given up is needed again: it was not replaced, as too many hung."""
        if self._closed or self._places >= self._process.handler.concurrency:
            return False
        self._places += 1
        return True

    async def _watch_timeouts(self, limit: float) -> None:
        while True:
            await asyncio.sleep(min(1.0, limit / 4))
            late = [d for d in self.running() if d.started_at and time.monotonic() - d.started_at > limit]
            for delivery in late:
                self._give_up(delivery)
                if self.are_stuck():
                    many, name = len(self._given_up), self._process.handler.name
                    log.error("%d threads hang beyond their timeout, handler %s rests", many, name)
            if self.are_stuck():
                self._release_waiting()  # others have threads that do not hang

    def _give_up(self, delivery: Delivery) -> None:
        with self._lock:
            thread = next((t for t, d in self._running.items() if d is delivery), None)
            if thread is None or delivery in self._given_up:
                return
            self._given_up.add(delivery)
            del self._running[thread]
            self._places -= 1
            if len(self._given_up) < MAX_STUCK_THREADS:
                self._start()
        outcome: Outcome = self._process.timed_out(delivery)
        self._settler.add(delivery, outcome)

    def running(self) -> list[Delivery]:
        return list(self._running.values())

    def waiting(self) -> int:
        return self._inbox.qsize()

    def are_stuck(self) -> bool:
        return self._places == 0

    def hand_back(self) -> None:
        self._closed = True
        self._release_waiting()

    def _release_waiting(self) -> None:
        while not self._inbox.empty():
            try:
                delivery = self._inbox.get_nowait()
            except queue.Empty:
                break
            if delivery is not None:
                self._settler.add(delivery, RELEASE)

    async def cancel(self) -> None:
        if self._watch:
            self._watch.cancel()
        for delivery in self.running():
            with self._lock:
                self._given_up.add(delivery)
            self._settler.add(delivery, RELEASE)
        for _ in range(self._process.handler.concurrency):
            self._inbox.put(None)
