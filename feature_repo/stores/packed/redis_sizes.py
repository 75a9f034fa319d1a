"""How much of a Redis server's memory each view takes: what a shop must order before it grows.

    python -m feature_repo.stores.packed.redis_sizes   # the store that ENDCAP_REDIS_URL names

Bytes are what the server's own MEMORY USAGE says of a view: rows, their keys, and the table that finds them.
`endcap materialize --end` writes a view beside the old one, which takes that much once more meanwhile.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feature_repo.settings import Settings, SettingsError
from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.redis_rows import RedisRows

SAMPLES = 10_000  # rows that the server looks at: all of many would stop it for seconds


@dataclass(frozen=True)
class ViewSize:
    """One view on the server."""

    view: str
    rows: int
    bytes: int

    def __str__(self) -> str:
        """One line for a person.

        >>> print(ViewSize("user_stats", 1_000, 316_000))
        user_stats         1,000 rows      316 bytes each      0.0003 GB   3,164,557 rows a GB
        """
        each = self.bytes / max(1, self.rows)
        told = f"{self.view:<16}{self.rows:>8,} rows {each:>8,.0f} bytes each {self.bytes / 1e9:>11,.4f} GB"
        return f"{told} {1e9 / each:>11,.0f} rows a GB"


def view_sizes(rows: RedisRows) -> Iterator[ViewSize]:
    """Size of each view that has rows, by name."""
    for view in rows.views():
        if rows.filled(view):
            yield ViewSize(view, rows.count(view), rows.size_bytes(view, samples=SAMPLES))


def main(settings: Settings, say: Any = print) -> None:
    """Say it of the store that the settings name."""
    rows = open_rows(settings, timeout_s=60.0)
    if not isinstance(rows, RedisRows):
        raise SettingsError(f"{settings.feature_store} names no Redis server; set ENDCAP_PROFILE=gcp")
    for each in view_sizes(rows):
        say(str(each))
    rows.close()


if __name__ == "__main__":
    try:
        main(Settings.from_environment())
    except (SettingsError, PackedStoreError) as error:
        sys.exit(f"Error: {error}")
