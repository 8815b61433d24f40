"""Where the server is, when nobody said."""

from busredis.errors import SettingsError
from busredis.settings import Settings


def server_url(settings: Settings) -> str:
    """The given URL, else that of the embedded server of this folder. Raises SettingsError if none runs."""
    if settings.url:
        return settings.url
    from busredis.server import EmbeddedServer  # noqa: PLC0415 - only programs without a URL pay for it

    running = EmbeddedServer().running_url()
    if running is None:
        raise SettingsError(
            "no server: set BUSREDIS_URL (redis://HOST:PORT/DB), or start the embedded one with 'busredis up'"
        )
    return running
