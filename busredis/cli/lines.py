"""The lines of a file of events, none of which takes more memory than an event may."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

#: JSON can spell a byte of an event in six: \\u0061 for "a".
_SPELLING = 6


def longest_line(max_event_bytes: int) -> int:
    """No line beyond this can be an event that is not too large."""
    return _SPELLING * max_event_bytes


def bounded_lines(stream: BinaryIO, longest: int, rest: Callable[[bytes], object]) -> Iterator[bytes]:
    """The lines of `stream`; of one that is longer only `longest` + 1 bytes, and what follows goes to `rest`."""
    while line := stream.readline(longest + 1):
        yield line
        while is_cut(line, longest):
            line = stream.readline(longest + 1)
            rest(line)


def is_cut(line: bytes, longest: int) -> bool:
    """Whether a line of bounded_lines() goes on behind its end."""
    return len(line) > longest and not line.endswith(b"\n")
