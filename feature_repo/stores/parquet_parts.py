"""Where the rows of a Feast source lie: one Parquet file, a folder of parts, or a pattern.

A table in BigQuery is filled from a folder: that one.
"""

from pathlib import Path
from typing import Any

from feature_repo.stores.in_state import in_state

WRITTEN_BY = "written_by"  # tag of a source: the command that writes its rows


class FeatureTableError(FileNotFoundError):
    """A feature table has no Parquet parts; the message names the command that writes them."""


def check_parquet(source: Any) -> None:
    """Raise unless the rows of `source` are Parquet: a Delta folder also has parts that were deleted."""
    kind = getattr(source, "file_format", type(source).__name__)
    if str(kind or "parquet") != "parquet":
        raise ValueError(f"Source {source.name!r} is {kind}; this store reads Parquet")


def parquet_parts(source: Any, state: str | None = None) -> tuple[str, ...]:
    """Sorted Parquet files of `source`; its path is relative to the state folder unless it is absolute.

    Files whose name starts with `_` or `.` (Spark's marks) are no parts. Only local files are read.
    """
    check_parquet(source)
    return parts_at(in_state(source.path, state), source)


def kept_parts(source: Any, state: str | None = None) -> tuple[str, ...]:
    """The same, and of a table in BigQuery the parts that it is filled from: the folder of its name."""
    if type(source).__name__ == "BigQuerySource":
        return parts_at(in_state(f"features/{source.name}", state), source)
    return parquet_parts(source, state)


def parts_at(path: Path, source: Any) -> tuple[str, ...]:
    """Sorted Parquet files at a path; FeatureTableError without any."""
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
    elif "*" in path.name:
        found = sorted(path.parent.glob(path.name))
    else:
        found = [path] if path.is_file() else []
    parts = tuple(str(part) for part in found if not part.name.startswith(("_", ".")))
    if not parts:
        command = source.tags.get(WRITTEN_BY, "endcap build-features")
        raise FeatureTableError(f"No feature table in {path}; run `{command}`")
    return parts
