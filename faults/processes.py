"""Faults of daemons and publishers. The docstring of a fault is its line in the table."""

import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from faults.history import read_history
from faults.stage import Stage
from tests.waiting import wait_until


def kill_a_daemon(stage: Stage) -> None:
    """SIGKILL of a daemon, and a new one"""
    with stage.fault("kill a daemon", "repeats"):
        stage.replace_daemon(stage.any_daemon(), signal.SIGKILL)


def kill_all_daemons(stage: Stage) -> None:
    """SIGKILL of all daemons at once, and new ones"""
    with stage.fault("kill all daemons", "repeats"):
        for daemon in stage.daemons:
            daemon.kill()
        for daemon in list(stage.daemons):
            stage.replace_daemon(daemon, signal.SIGKILL)


def stop_a_daemon(stage: Stage) -> None:
    """SIGTERM of a daemon at work, and a new one"""
    stage.wait_for_daemons()
    with stage.fault("stop a daemon"):
        stage.codes.append(stage.replace_daemon(stage.any_daemon(), signal.SIGTERM))


def freeze_a_daemon_briefly(stage: Stage) -> None:
    """SIGSTOP of a daemon for a quarter of its lease"""
    with stage.fault("freeze a daemon briefly"):
        daemon = _at_work(stage)
        daemon.send_signal(signal.SIGSTOP)
        stage.let_run(stage.setting.lease_s / 4)
        daemon.send_signal(signal.SIGCONT)


def make_a_zombie(stage: Stage) -> None:
    """SIGSTOP of a daemon for 2.5 leases, while others take over what it holds, and SIGCONT"""
    taken = stage.count("faults.worker.log", b"taking over")
    with stage.fault("make a zombie", "repeats"):
        daemon = _stop_in_the_middle(stage)
        stage.let_run(stage.setting.lease_s * 2.5)
        daemon.send_signal(signal.SIGCONT)
    stage.wait_for_more("faults.worker.log", b"taking over", taken)


def freeze_all_daemons(stage: Stage) -> None:
    """SIGSTOP of all daemons for 1.5 leases, and SIGCONT of all: each finds the others' leases lapsed"""
    with stage.fault("freeze all daemons", "repeats"):
        for daemon in stage.daemons:
            daemon.send_signal(signal.SIGSTOP)
        stage.let_run(stage.setting.lease_s * 1.5)
        for daemon in stage.daemons:
            daemon.send_signal(signal.SIGCONT)


def kill_a_publisher(stage: Stage) -> None:
    """SIGKILL of a publisher in the middle of its work; a new one goes on behind what it last tried"""
    working = [name for name, (_, process) in stage.publishers.items() if process.poll() is None]
    wait_until(lambda: stage.count("publisher-*.log", b"\nok ") > 0, "something was published")
    with stage.fault("kill a publisher"):
        if not working:
            raise AssertionError("no publisher is at work any more: there is nothing to kill")
        order, process = stage.publishers[stage.chance.choice(working)]
        process.kill()
        process.wait()
        del stage.publishers[order.name]
    tried = [p for p in read_history(stage.folder).publishes if p.publisher == order.name]
    reached = max((p.first + p.count for p in tried), default=order.first)
    left = order.seconds * (order.last - reached) / max(1, order.last - order.first)
    if reached < order.last:
        stage.start_publisher(replace(order, name=f"{order.name}+", first=reached, seconds=left))


def _stop_in_the_middle(stage: Stage) -> subprocess.Popen[bytes]:
    """SIGSTOP of a daemon while one of its handlers runs."""
    for _ in range(200):
        daemon = _at_work(stage)
        daemon.send_signal(signal.SIGSTOP)
        told = b"".join(path.read_bytes() for path in _logs(stage, daemon))
        if told.count(b"start ") > told.count(b"done ") + told.count(b"failed "):
            return daemon
        daemon.send_signal(signal.SIGCONT)
    raise AssertionError("no handler was found at work in two hundred tries")


def _at_work(stage: Stage) -> subprocess.Popen[bytes]:
    """A daemon that is handling events right now."""
    before = {daemon.pid: _told(stage, daemon) for daemon in stage.daemons}

    def busy() -> list[subprocess.Popen[bytes]]:
        return [daemon for daemon in stage.daemons if _told(stage, daemon) > before[daemon.pid]]

    wait_until(busy, "a daemon is at work")
    return stage.chance.choice(busy())


def _told(stage: Stage, daemon: subprocess.Popen[bytes]) -> int:
    """How many bytes its handlers have written."""
    return sum(path.stat().st_size for path in _logs(stage, daemon))


def _logs(stage: Stage, daemon: subprocess.Popen[bytes]) -> list[Path]:
    return list(stage.folder.glob(f"worker-{daemon.pid}-*.log"))
