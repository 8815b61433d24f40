"""What a handler wants written together with its acknowledgement: commands whose failure can be foreseen.

| command | arguments behind the key |
|---|---|
| `SET` · `DEL` | value · none |
| `INCRBY` · `INCRBYFLOAT` | integer · number |
| `HSET` · `HDEL` | field value ... · field ... |
| `HINCRBY` · `HINCRBYFLOAT` | field integer · field number |
| `SADD` · `SREM` | member ... |
| `ZADD` | `NX`, `XX`, `GT`, `LT` or none, then score member ... |
| `ZREM` · `ZINCRBY` · `ZREMRANGEBYRANK` | member ... · number member · start stop |
| `LPUSH` · `RPUSH` · `LTRIM` | element ... · element ... · start stop |
| `EXPIRE` · `PEXPIRE` | seconds · milliseconds |
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from busredis.commands import Arg
from busredis.delivery.model import Delivery, Effect, Outcome
from busredis.errors import EffectRefused
from busredis.keys import Keys

#: Most effects of one attempt, most arguments of one effect, most bytes of all: a script blocks the server.
MAX_EFFECTS = 1_000
MAX_ARGUMENTS = 1_000
MAX_BYTES = 8 * 1_048_576
#: Most that one script call carries, of as many deliveries as fit.
_CALL_EFFECTS = 500
_CALL_BYTES = 8 * 1_048_576

#: Counters stay below 2^63; effects.lua has the same bound, and the reason.
_MOST = 9_200_000_000_000_000_000
#: Three centuries: beyond, servers begin to refuse an expiry.
_LONGEST_S = 10_000_000_000

#: What an argument must be, if it is not.
_Check = Callable[[Arg], str | None]


def _any(_value: Arg) -> str | None:
    return None


def _integer(value: Arg) -> str | None:
    return None if isinstance(value, int) and abs(value) <= _MOST else "an int within 64 bits"


def _number(value: Arg) -> str | None:
    return (
        None if isinstance(value, int | float) and abs(value) <= _MOST else "a finite number within 64 bits"
    )


def _score(value: Arg) -> str | None:
    try:
        return None if isinstance(value, int | float) and not math.isnan(float(value)) else "a number"
    except OverflowError:
        return "a number that a double can hold"


def _seconds(value: Arg) -> str | None:
    return None if isinstance(value, int) and 0 < value <= _LONGEST_S else "a positive int of seconds"


def _milliseconds(value: Arg) -> str | None:
    return None if isinstance(value, int) and 0 < value <= _LONGEST_S * 1_000 else "a positive int of ms"


class _Form(NamedTuple):
    checks: tuple[_Check, ...]
    repeats: bool = False
    flags: tuple[str, ...] = ()


_FORMS = {
    "SET": _Form((_any,)),
    "DEL": _Form(()),
    "INCRBY": _Form((_integer,)),
    "INCRBYFLOAT": _Form((_number,)),
    "HSET": _Form((_any, _any), repeats=True),
    "HDEL": _Form((_any,), repeats=True),
    "HINCRBY": _Form((_any, _integer)),
    "HINCRBYFLOAT": _Form((_any, _number)),
    "SADD": _Form((_any,), repeats=True),
    "SREM": _Form((_any,), repeats=True),
    "ZADD": _Form((_score, _any), repeats=True, flags=("NX", "XX", "GT", "LT")),
    "ZREM": _Form((_any,), repeats=True),
    "ZINCRBY": _Form((_number, _any)),
    "ZREMRANGEBYRANK": _Form((_integer, _integer)),
    "LPUSH": _Form((_any,), repeats=True),
    "RPUSH": _Form((_any,), repeats=True),
    "LTRIM": _Form((_integer, _integer)),
    "EXPIRE": _Form((_seconds,)),
    "PEXPIRE": _Form((_milliseconds,)),
}


class Effects:
    """The effects of one attempt, in order. They are applied with its acknowledgement, all of them or none.

    That is exactly once for each time that the group is given the entry: not if the handler raises, not if the lease was
    lost, not twice if the reply is lost. Until then nothing can be read of them. May be used from any thread.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._gathered: list[Effect] = []
        self._bytes = 0
        self._is_open = True
        self._lock = threading.Lock()

    def add(self, command: str, key: str, *args: Arg) -> None:
        """One command on one key of the event's partition; the table on top of this module says which.

        Raises EffectRefused, before anything is sent, for what is not in the table. What only the server can know (the
        key has another type, a counter holds no number) makes the attempt fail, and none of its effects is applied.
        """
        name = command.upper() if isinstance(command, str) else repr(command)
        if name not in _FORMS:
            raise EffectRefused(f"{name[:40]} is none of the commands that can be: {', '.join(_FORMS)}")
        self._check_key(name, key)
        _check_arguments(name, args)
        self.note(name, key, *args)

    def note(self, name: str, key: str, *args: Arg) -> None:
        """As add(), for keys of busredis itself; what calls it has checked its arguments."""
        _encoded(name, key)
        effect = Effect(name, key, tuple(_encoded(name, arg) for arg in args))
        with self._lock:
            if not self._is_open:
                raise EffectRefused(
                    f"{name} {key[:200]}: the handler has ended, its effects are on their way"
                )
            self._bytes += effect.size
            if len(self._gathered) == MAX_EFFECTS or self._bytes > MAX_BYTES:
                raise EffectRefused(f"more than {MAX_EFFECTS} effects or {MAX_BYTES:,} bytes in one attempt")
            self._gathered.append(effect)

    def take(self) -> tuple[Effect, ...]:
        """All of them; nothing can be added any more."""
        with self._lock:
            self._is_open = False
            return tuple(self._gathered)

    def _check_key(self, name: str, key: str) -> None:
        if not isinstance(key, str):
            raise EffectRefused(
                f"{name}: the key must be a str, as from ctx.view(...), not {type(key).__name__}"
            )
        if self._keys.is_view(key):
            return
        if not key.startswith(f"{self._keys.tag}:"):
            raise EffectRefused(
                f"{name} {key[:200]}: not in the event's partition, whose keys start with {self._keys.tag}:"
            )
        if self._keys.known(key):
            raise EffectRefused(f"{name} {key[:200]}: a key of busredis itself; use ctx.view(...)")


def _check_arguments(name: str, args: Sequence[Arg]) -> None:
    checks, repeats, flags = _FORMS[name]
    for arg in args:
        if isinstance(arg, bool) or not isinstance(arg, str | bytes | int | float):
            raise EffectRefused(f"{name}: an argument is str, bytes, int or float, not {type(arg).__name__}")
    rest = args[1:] if args and args[0] in flags else args
    fits = len(rest) == len(checks) or (repeats and len(rest) > 0 and len(rest) % len(checks) == 0)
    if not fits or len(args) > MAX_ARGUMENTS:
        how_many = f"a multiple of {len(checks)}, at most {MAX_ARGUMENTS}," if repeats else str(len(checks))
        raise EffectRefused(f"{name} takes {how_many} arguments behind its key, not {len(args)}")
    for position, arg in enumerate(rest):
        if wanted := checks[position % len(checks)](arg):
            raise EffectRefused(f"{name}: argument {position + 1} behind the key must be {wanted}")


def _encoded(name: str, arg: Arg) -> bytes:
    # Here and not when it is sent: what cannot be encoded is the fault of this handler, not of the connection.
    if isinstance(arg, int):
        return b"%d" % arg
    if isinstance(arg, float):
        return repr(float(arg)).encode()
    try:
        return arg.encode() if isinstance(arg, str) else arg
    except UnicodeEncodeError as error:
        raise EffectRefused(f"{name}: {arg[:80]!r} cannot be written as UTF-8: {error.reason}") from None


def portions(ended: Iterable[tuple[Delivery, Outcome]]) -> Iterator[list[tuple[Delivery, Outcome]]]:
    """Deliveries with effects, as many together as one script call should carry."""
    portion: list[tuple[Delivery, Outcome]] = []
    effects = size = 0
    for delivery, outcome in ended:
        more = sum(effect.size for effect in outcome.effects)
        if portion and (effects + len(outcome.effects) > _CALL_EFFECTS or size + more > _CALL_BYTES):
            yield portion
            portion, effects, size = [], 0, 0
        portion.append((delivery, outcome))
        effects, size = effects + len(outcome.effects), size + more
    if portion:
        yield portion
