"""Faults between the processes and the server, by a proxy. The docstring of a fault is its line in the table."""

from faults.history import LeadsTo
from faults.stage import Stage
from tests.waiting import wait_until

_APPEND_ACK_CLAIM = b"EVALSHA"


def delay_requests(stage: Stage) -> None:
    """Every request delayed by 20 ms for a second"""
    with stage.fault("delay requests"):
        stage.proxy.delay(0.02)
        stage.let_run(1.0)
        stage.proxy.delay(0.0)


def cut_connections(stage: Stage) -> None:
    """All connections cut, and refused for 0.3 s"""
    # Who waits longer and longer before it tries again may, by bad luck, find a short lease over.
    marks: tuple[LeadsTo, ...] = () if stage.setting.lease_s > 5 else ("repeats",)
    with stage.fault("cut connections", *marks):
        stage.proxy.refuse()
        stage.let_run(0.3)
        stage.proxy.accept()


def lose_requests(stage: Stage) -> None:
    """Connections cut before the request: five appends, acks or claims that never reach the server"""
    before = stage.proxy.lost_requests
    with stage.fault("lose requests"):
        stage.proxy.cut_before_request(5, needle=_APPEND_ACK_CLAIM)
        wait_until(lambda: stage.proxy.lost_requests >= before + 5, "five requests are lost")


def lose_replies(stage: Stage) -> None:
    """Connections cut after the request and before its reply: five appends, acks or claims that were done"""
    _lose_replies(stage, "lose replies", _APPEND_ACK_CLAIM, 0)


def lose_reads(stage: Stage) -> None:
    """Connections cut before the reply to XREADGROUP: entries that were delivered and never arrived"""
    _lose_replies(stage, "lose reads", b"XREADGROUP", 0)


def tear_replies(stage: Stage) -> None:
    """Connections cut within the reply, after a few bytes of it: five appends, acks or claims"""
    _lose_replies(stage, "tear replies", _APPEND_ACK_CLAIM, stage.chance.choice((1, 3, 9)))


def tear_reads(stage: Stage) -> None:
    """Connections cut within the reply to XREADGROUP, after up to 2,000 bytes of it"""
    _lose_replies(stage, "tear reads", b"XREADGROUP", stage.chance.randint(1, 2_000))


def strand_connections(stage: Stage) -> None:
    """All connections stall for ever and stay open; only new ones work"""
    with stage.fault("strand connections", "repeats"):
        stage.proxy.strand()
        # Nobody is told: each side must notice by its own timeout, the longest of which is 5 s.
        stage.let_run(6.0)


def stall_the_network(stage: Stage) -> None:
    """Nothing is forwarded for half a lease; connections stay open"""
    with stage.fault("stall the network"):
        stage.proxy.stall()
        stage.let_run(stage.setting.lease_s / 2)
        stage.proxy.resume()


def _lose_replies(stage: Stage, name: str, needle: bytes, keep: int) -> None:
    before = stage.proxy.lost_replies
    with stage.fault(name):
        stage.proxy.cut_before_reply(5, needle=needle, keep=keep)
        wait_until(lambda: stage.proxy.lost_replies >= before + 5, "five replies are lost")
