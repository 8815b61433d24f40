"""The archives of all partitions of a namespace, at one URL."""

from collections.abc import Sequence

from busredis.cold.archive import Archive, Kept
from busredis.cold.manifest import NAME, Owner, find_owner
from busredis.cold.place import Place
from busredis.errors import ArchiveError
from busredis.keys import Keys


class Archives:
    """What is archived of a namespace: one archive if it is not divided, else one for each of its partitions."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.place = Place(f"{url.rstrip('/')}/{namespace}")
        self._kept = Kept()
        self._known: dict[Owner, Archive] = {}

    def of(self, keys: Keys, count: int) -> Archive:
        """The archive of one of `count` partitions."""
        return self._of(Owner(self.namespace, keys.partition, count))

    def all(self, partitions: Sequence[Keys]) -> list[Archive]:
        """One for each partition. Raises ArchiveError if what is there is of another number of partitions."""
        found = self._count()
        if found not in (None, len(partitions)):
            raise ArchiveError(
                f"{self.place.url}: the archive of a namespace {self.namespace!r} with {found} partition(s), and this one "
                f"has {len(partitions)}: name another place for it"
            )
        return [self.of(keys, len(partitions)) for keys in partitions]

    def there(self) -> list[Archive]:
        """One for each partition that the archive itself says there are. Raises ArchiveError."""
        count = self._count() or 1
        owners = (
            [Owner(self.namespace)] if count == 1 else [Owner(self.namespace, n, count) for n in range(count)]
        )
        return [self._of(owner) for owner in owners]

    def _count(self) -> int | None:
        """How many partitions there are, as any manifest says; None if there is none."""
        if self.place.read(NAME) is not None:
            return 1
        for folder in self.place.folders():
            if folder.startswith("p") and folder[1:].isdecimal():
                owner = find_owner(Place(f"{self.place.url}/{folder}"))
                if owner is not None:
                    return owner.partitions
        return None

    def _of(self, owner: Owner) -> Archive:
        if owner not in self._known:
            self._known[owner] = Archive(self.url, owner, self._kept)
        return self._known[owner]
