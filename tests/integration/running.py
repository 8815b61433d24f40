"""Daemons that run in threads of the test's own process."""

import threading
from typing import Self

from busredis import Daemon


class Running:
    """A daemon that runs beside a block, and is stopped at its end however that ends."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.thread = threading.Thread(target=daemon.run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.daemon.stop()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()
