"""The JSON of an event, and what is wrong with it."""

from typing import Any

import orjson
import pydantic_core
from pydantic import ValidationError

from busredis.errors import DecodeError, EncodeError


def check_payload(raw: bytes) -> None:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # pydantic reads integers of any length, and orjson none that is beyond a float.
        raise DecodeError("json", f"event: {error}") from None
    check_object(document.get("payload"))


def check_object(payload: object) -> None:
    if not isinstance(payload, dict):
        found = "missing" if payload is None else f"of type {type(payload).__name__}"
        raise DecodeError("validation", f"payload: is {found}, a JSON object is expected")


def dumps(value: object) -> bytes:
    """`value` as JSON. Raises EncodeError naming the field that has no JSON form."""
    try:
        return orjson.dumps(value, default=_json_form)
    except TypeError as error:
        place = _unwritable(value)
        raise EncodeError(f"{place}: cannot be written as JSON: {error.__cause__ or error}") from error


def _unwritable(document: object) -> str:
    """The field of an event that is no JSON."""
    if not isinstance(document, dict):
        return "event"
    payload = document.get("payload")
    parts = {f"payload.{name}": value for name, value in payload.items()} if isinstance(payload, dict) else {}
    for name, value in (parts | document).items():
        try:
            orjson.dumps(value, default=_json_form)
        except TypeError:
            return name
    return "event"


def _json_form(value: object) -> Any:
    # What orjson does not know: sets, Decimal, timedelta, nested models ... in the form that pydantic reads back.
    return pydantic_core.to_jsonable_python(value)


def describe(error: ValidationError) -> DecodeError:
    """A validation error as a DecodeError that names fields and never shows their values."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    reason = "json" if problems[0]["type"] == "json_invalid" else "validation"
    shown = [f"{'.'.join(map(str, p['loc'])) or 'entry'}: {p['msg']}" for p in problems[:5]]
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return DecodeError(reason, "; ".join(shown) + more)
