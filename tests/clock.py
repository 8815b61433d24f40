"""A clock that a test winds: what must happen within a time is counted on it, however slow the machine is."""

import time


class Clock:
    """Stands in for the module `time` in a module under test; a pause takes no time but its own."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.pauses: list[float] = []
        self._began = time.monotonic()

    def monotonic(self) -> float:
        return self._began + self.elapsed

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.elapsed += seconds
