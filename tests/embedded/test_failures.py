"""An embedded server that does not start, answer or end: said in words, or killed."""

import os
import signal
from pathlib import Path

import pytest

from busredis.errors import BusError
from busredis.server import ServerFailed
from tests.embedded.conftest import MakeServer, is_gone, say
from tests.waiting import wait_until


def test_a_failed_start_shows_the_last_lines_of_the_log(embedded: MakeServer, folder: Path) -> None:
    with pytest.raises(ServerFailed, match="sometimes") as failed:
        embedded(appendfsync="sometimes").start()

    assert str(folder) in str(failed.value)
    assert isinstance(failed.value, BusError)


def test_damaged_data_is_an_error_with_the_servers_words(embedded: MakeServer, folder: Path) -> None:
    server = embedded()
    server.start()
    say(server.port, "SET fact kept")
    server.stop()
    for file in [*folder.glob("appendonly.aof"), *folder.glob("appendonlydir/*.incr.aof")]:
        file.write_bytes(b"no append-only file\n" * 100)

    with pytest.raises(ServerFailed, match=r"ended while it started(.|\n)*[Bb]ad file format"):
        embedded().start()


def test_a_paused_server_is_told_apart_from_none(embedded: MakeServer) -> None:
    owner = embedded()
    owner.start()
    os.kill(owner.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerFailed, match="does not answer; it was not stopped"):
            embedded(timeout=0.1).stop(force=True)
    finally:
        os.kill(owner.pid, signal.SIGCONT)


def test_a_server_that_does_not_end_nicely_is_killed(
    embedded: MakeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = embedded(timeout=1)
    owner.start()
    pid = owner.pid
    look = owner._look_patiently

    def look_and_hang() -> object:
        found = look()
        os.kill(pid, signal.SIGSTOP)
        return found

    monkeypatch.setattr(owner, "_look_patiently", look_and_hang)

    assert owner.stop() is True

    wait_until(lambda: is_gone(pid), "the server is gone")
    assert "bye bye" not in (folder / "server.log").read_text()
