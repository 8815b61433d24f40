"""The connections that personal data needs beside the others."""

import gc
from typing import Annotated

from busredis import DomainEvent, Personal, Publisher
from busredis.client import Client


class PersonMoved(DomainEvent):
    username: str = ""
    address: Annotated[str, Personal("username")] = ""


def test_the_connection_to_the_keys_is_closed_with_whoever_used_it(server, namespace, monkeypatch):
    closed, close = [], Client.close
    monkeypatch.setattr(Client, "close", lambda client: (closed.append(id(client)), close(client)))
    publisher = Publisher(server.url, namespace=namespace)
    publisher.publish(PersonMoved(username="ada", address="12 St James's Square"))
    publisher.close()
    del publisher
    gc.collect()
    # Its own, and that to the keys, which is not left to the garbage collector.
    assert len(set(closed)) == 2
