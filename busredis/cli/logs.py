"""How a daemon's log looks: one line an event, as text or JSON."""

import json
import logging
import sys
from typing import Literal

import orjson

from busredis.cli.terminal import printable

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the facts given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _KNOWN},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # half of a surrogate pair, an integer beyond 64 bits
            return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line an event; what else it says, a traceback, is indented, so that nothing it says poses as an event."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def configure(log_format: Literal["text", "json"], level: str) -> None:
    """Logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
