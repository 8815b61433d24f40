"""What people and programs do to the data of a bus. The docstring of a fault is its line in the table."""

import time

from faults.events import GROUPS
from faults.stage import KEYS, STREAM, Stage
from tests.waiting import wait_until


def flush_everything(stage: Stage) -> None:
    """FLUSHALL: what was confirmed before it is gone by command, what is confirmed after it is not"""
    with stage.fault("flush everything", "repeats", "resets", "rewinds", erases_since=0):
        stage.command("FLUSHALL")


def delete_the_stream(stage: Stage) -> None:
    """DEL of the stream, with its groups: what was confirmed before it is gone by command"""
    wait_until(lambda: stage.command("EXISTS", STREAM), "there is a stream to delete")
    with stage.fault("delete the stream", "repeats", "resets", "rewinds", erases_since=0):
        assert stage.command("DEL", STREAM) == 1


def destroy_a_group(stage: Stage) -> None:
    """XGROUP DESTROY of a group at work: restored at its checkpoint, so what lies behind it is handled again"""
    with stage.fault("destroy a group", "repeats", "resets"):
        assert stage.command("XGROUP", "DESTROY", STREAM, stage.chance.choice(GROUPS)) == 1


def set_the_clock_ahead(stage: Stage) -> None:
    """The partition's clock an hour ahead of the server's, as if the server's had stepped back"""
    with stage.fault("set the clock ahead"):
        ahead = int((time.time() + 3_600 * (stage.injected + 1)) * 1000)
        stage.command("SET", KEYS.clock, f"{ahead}-0")
    if stage.publishes():
        wait_until(lambda: _last_ms(stage) >= ahead, "ids go on from the clock")


def _last_ms(stage: Stage) -> int:
    with stage.client() as client:
        last: bytes = client.xinfo_stream(STREAM)["last-generated-id"]
    return int(last.decode().partition("-")[0])
