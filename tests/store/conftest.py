import pytest

from busredis import Repository
from tests.store.stores import STORES, make_store


@pytest.fixture(params=STORES)
def store(request, server, namespace, inspect):
    made = make_store(request.param, server.url, namespace)
    yield made
    made.close()


@pytest.fixture
def repository(store):
    return Repository(store)
