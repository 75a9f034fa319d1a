"""Where raw data comes from: one module a source, each a frozen record with `relations(con)`.

open_source("complete_journey")             a year of a real grocer
open_source("synthetic", scale=10)          planted truth, any size
open_source("folder:/data/shop")            your own Parquet files, already in our columns
"""

from collections.abc import Callable

import jobs.sources.complete_journey as complete_journey
import jobs.sources.folder as folder
import jobs.sources.synthetic as synthetic
from jobs.sources.source import IngestError, RawTable, Source, Span

__all__ = ["SOURCES", "IngestError", "RawTable", "Source", "Span", "open_source"]

SOURCES: dict[str, Callable[[str, float | None], Source]] = {
    "complete_journey": complete_journey.open_source,
    "folder": folder.open_source,
    "synthetic": synthetic.open_source,
}
"""Constructors by name; each takes the text after the colon and the scale."""


def open_source(text: str, scale: float | None = None) -> Source:
    """Source that `NAME` or `NAME:ARGUMENT` means; IngestError names the valid ones."""
    name, _, argument = text.partition(":")
    if name not in SOURCES:
        raise IngestError(f"There is no source {name!r}; use --source {', '.join(SOURCES)} (folder:/path)")
    return SOURCES[name](argument, scale)
