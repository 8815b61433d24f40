"""What an event looks like on the wire."""

from collections.abc import Callable, Sequence
from typing import Any

#: From the values of an event, by attribute, to the document that is stored.
Writer = Callable[[dict[str, Any]], dict[str, Any]]


def make_writer(metadata: Sequence[tuple[str, str]], payload: Sequence[str]) -> Writer:  # noqa: C901 - seven like questions
    """A function that writes the events of a class; metadata that is not set is left out.

    `metadata` has pairs of a name on the wire and an attribute, those that are always set first; `payload` has attributes.
    """
    if any(name != attribute for name, attribute in metadata):
        return _displaced(metadata, payload)

    # Spelt out, and without a comprehension: this is a third of what a publisher does for an event.
    def write(values: dict[str, Any]) -> dict[str, Any]:
        found = {
            "event_id": values["event_id"],
            "event_type": values["event_type"],
            "event_version": values["event_version"],
            "occurred_at": values["occurred_at"],
        }
        if (value := values["aggregate_id"]) is not None:
            found["aggregate_id"] = value
        if (value := values["aggregate_type"]) is not None:
            found["aggregate_type"] = value
        if (value := values["aggregate_version"]) is not None:
            found["aggregate_version"] = value
        if (value := values["correlation_id"]) is not None:
            found["correlation_id"] = value
        if (value := values["causation_id"]) is not None:
            found["causation_id"] = value
        if (value := values["user_id"]) is not None:
            found["user_id"] = value
        if (value := values["traceparent"]) is not None:
            found["traceparent"] = value
        told = found["payload"] = {}
        for name in payload:
            told[name] = values[name]
        return found

    return write


def _displaced(metadata: Sequence[tuple[str, str]], payload: Sequence[str]) -> Writer:
    """For classes whose payload has taken the name of a piece of metadata."""

    def write(values: dict[str, Any]) -> dict[str, Any]:
        found = {name: values[attribute] for name, attribute in metadata[:4]}
        found |= {name: value for name, attribute in metadata[4:] if (value := values[attribute]) is not None}
        found["payload"] = {name: values[name] for name in payload}
        return found

    return write
