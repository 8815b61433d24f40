"""python -m fuzz [SECONDS] [SEED]: feeds damaged bytes to all that reads bytes.

Guided by coverage if atheris is installed (pip install 'busredis[fuzz]'), else by chance alone, from a seed that is
printed. The exit code is 0 only if nothing but events and the errors that may come were seen.
"""

import os
import random
import sys
import tempfile
from pathlib import Path

from fuzz.clock import Clock

_TOKENS = (
    b'{ } [ ] , : " \\ \\ud800 \\u0000 NaN 1e400 -0 null true 18446744073709551616 99999999999999999999999999'
    b' "payload": "event_version": "event_type": "event_id": "occurred_at": \xff \xef\xbb\xbf \xed\xa0\x80'
).split()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    try:
        import atheris  # noqa: PLC0415 - optional
    except ImportError:
        _by_chance(seconds)
    else:
        _guided(atheris, seconds)


def _by_chance(seconds: float) -> None:
    from fuzz.targets import SEEDS, feed  # noqa: PLC0415 - see _guided

    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(10**6)
    print(f"atheris is not installed: by chance alone, seed {seed}", flush=True)
    chance, clock = random.Random(seed), Clock(seconds, feed)
    while not clock.over():
        clock.feed(_damaged(chance, chance.choice(SEEDS)))
    clock.tell()


def _damaged(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 8)):
        start, length = chance.randint(2, len(data)), chance.choice((0, 0, 1, 2, 8, 40))
        new = chance.choice((chance.choice(_TOKENS), chance.randbytes(chance.randint(0, 4)), data[-20:]))
        data = data[:start] + new * chance.choice((1, 1, 1, 1, 500)) + data[start + length :]
    return data


def _guided(atheris: "object", seconds: float) -> None:
    with atheris.instrument_imports(include=["busredis"]):  # type: ignore[attr-defined]
        from fuzz.targets import SEEDS, feed  # noqa: PLC0415 - imported here, to be instrumented
    clock = Clock(seconds, feed)

    def one(data: bytes) -> None:
        if clock.over():
            # libFuzzer ends the process by itself and lets nobody speak after it.
            clock.tell()
            sys.stdout.flush()
            os._exit(0)
        clock.feed(data)

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(SEEDS):
            Path(folder, f"seed-{number}").write_bytes(data)
        tokens = "\n".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"' for token in _TOKENS)
        dictionary = Path(folder, "tokens")
        dictionary.write_text(tokens)
        options = ["-max_len=20000", f"-dict={dictionary}", "-print_final_stats=0", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, folder], one)  # type: ignore[attr-defined]
        atheris.Fuzz()  # type: ignore[attr-defined]


main()
