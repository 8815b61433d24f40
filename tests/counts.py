"""What a server did: the commands that it ran, those of scripts included, and the bytes that it sent."""

import redis


class Counts:
    """Counts since the last question."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._last: dict[str, int] = {}
        self.since()

    def since(self) -> dict[str, int]:
        """By command, how often since the last call; and `bytes`. Of INFO itself nothing is said but its bytes."""
        found = {name[8:]: row["calls"] for name, row in self._client.info("commandstats").items()}
        found = {name: calls for name, calls in found.items() if name != "info"}
        found["bytes"] = self._client.info("stats")["total_net_output_bytes"]
        last, self._last = self._last, found
        return {
            name: calls - last.get(name, 0) for name, calls in found.items() if calls != last.get(name, 0)
        }
