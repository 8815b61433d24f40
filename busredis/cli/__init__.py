"""The command line: `busredis` or `python -m busredis`."""

from busredis.cli.app import main

__all__ = ["main"]
