import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def busredis(server, namespace):
    environment = {
        **os.environ,
        "BUSREDIS_URL": server.url,
        "BUSREDIS_NAMESPACE": namespace,
        "COLUMNS": "200",
    }

    def call(*arguments: str, given: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "busredis", *arguments],
            input=given,
            capture_output=True,
            cwd=ROOT,
            env=environment,
            check=False,
            timeout=60,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, f"{arguments}\n{out}\n{err}"
        assert code == 0 or "Traceback" not in out + err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    call.environment = environment
    return call
