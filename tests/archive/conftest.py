"""Events of many days ago, in Redis under the ids of their days, and an archive in a folder."""

from datetime import UTC, datetime, timedelta

import pytest

from busredis.archiver import Archiver
from busredis.cold import Archive
from busredis.events import DomainEvent

FIRST_DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERYTHING = "99999999999999-0"


class ColdPaid(DomainEvent):
    order: str = ""
    cents: int = 0


class ColdShipped(DomainEvent):
    order: str = ""


def moment(day: int, number: int = 0) -> int:
    """A unix ms on that day."""
    return int((FIRST_DAY + timedelta(days=day, seconds=number)).timestamp() * 1000)


def publish_old(inspect, keys, days: int, a_day: int, classes=(ColdPaid, ColdShipped)) -> list[str]:
    """So many events a day and type; returns the list that the publisher keeps: `type id JSON`."""
    published = []
    pipeline = inspect.pipeline(transaction=False)
    for day in range(days):
        for number in range(a_day):
            for place, cls in enumerate(classes):
                event = cls(order=f"o-{day}-{number}", aggregate_id=f"a-{number % 5}", user_id="grace")
                entry_id, raw = f"{moment(day, number)}-{place}", event.to_json()
                pipeline.xadd(keys.stream(cls.type_name), {"event": raw}, id=entry_id)
                published.append(f"{cls.type_name} {entry_id} {raw.decode()}")
    pipeline.sadd(keys.types, *(cls.type_name for cls in classes))
    pipeline.execute()
    return sorted(published)


def hot(inspect, keys) -> list[str]:
    return sorted(
        f"{keys.event_type(key.decode())} {entry_id.decode()} {fields[b'event'].decode()}"
        for key in inspect.scan_iter(keys.every_stream)
        for entry_id, fields in inspect.xrange(key)
    )


def cold(archive) -> list[str]:
    return sorted(
        f"{file.event_type} {entry_id} {fields[1].decode()}"
        for file in archive.manifest(fresh=True).files
        for entries in archive.scan(file)
        for entry_id, fields in entries
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cold"


@pytest.fixture
def archive(folder, namespace):
    return Archive(str(folder), namespace)


@pytest.fixture
def run(client, keys, archive, inspect):
    def run_now(before: str = EVERYTHING, **options):
        results = Archiver(client, keys, options.pop("archive", archive), before, **options).run()
        return {result.event_type: result for result in results}

    run_now.client, run_now.keys = client, keys
    return run_now
