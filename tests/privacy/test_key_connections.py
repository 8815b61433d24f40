"""The connections that personal data needs beside the others."""

import gc
import warnings
from typing import Annotated

from busredis import DomainEvent, Personal, Publisher
from tests.waiting import wait_until


class PersonMoved(DomainEvent):
    username: str = ""
    address: Annotated[str, Personal("username")] = ""


def test_the_connection_to_the_keys_ends_with_whoever_used_it(server, namespace, inspect):
    def connections():
        return {row["id"] for row in inspect.client_list()}

    before = connections()
    with Publisher(server.url, namespace=namespace) as publisher:
        publisher.publish(PersonMoved(username="ada", address="12 St James's Square"))
        assert len(connections() - before) == 2
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del publisher
        gc.collect()
    # A socket that is left to the garbage collector says so.
    assert [str(warning.message) for warning in told] == []
    wait_until(lambda: connections() <= before, "its connections to end")
