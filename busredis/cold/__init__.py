"""Cold storage: old entries in Parquet files, with a manifest that says which files and what is in them."""

from busredis.cold.archive import Archive
from busredis.cold.archives import Archives
from busredis.cold.manifest import FileEntry

__all__ = ["Archive", "Archives", "FileEntry"]
