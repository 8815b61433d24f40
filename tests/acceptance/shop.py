"""A program of a user, for tests of the command line."""

from busredis import DomainEvent, Router

router = Router()
not_a_router = 3


class ShopSold(DomainEvent):
    item: str = ""
    cents: int = 0


@router.on(ShopSold, name="till", max_attempts=2, backoff=0.01)
def till(event: ShopSold) -> None:
    if event.cents < 0:
        raise ValueError("negative")
