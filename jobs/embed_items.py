"""Encode what items are: the text of every item, read by BERT, as one vector.

In: the `items` table. Out: the feature table `item_text` (item_id, text_embedding list<float>, timestamps).

    endcap embed-items                                   # all-MiniLM-L6-v2, 384 dimensions
    endcap embed-items --model /models/my-bert           # any BERT, by folder or Hugging Face name

Items that share a text share its vector, and a vector is kept by the hash of its text and the fingerprint
of its model in `state/embeddings/<fingerprint>/`: a later run encodes new and changed texts only. Every few
thousand texts are written there at once, so an interrupted run goes on where it stopped.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.item_text import LONG_AGO, TEXT_COLUMNS, item_texts, text_key
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.text_encoder import TextEncoder, fingerprint, load_encoder, model_folder

CHECKPOINT = 4_096  # texts between two writes of the cache: 5 to 30 s of work
BLOCK = 65_536  # rows written at once

_TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema({
    "item_id": pa.string(),
    "text_embedding": pa.list_(pa.float32()),
    "event_timestamp": _TIME,
    "created_timestamp": _TIME,
})  # fmt: skip


def run(settings: Settings, model: str | None = None) -> Result:
    """Write the feature table `item_text`; `model` is a folder or a Hugging Face name of a BERT."""
    started = time.perf_counter()
    items = _read_items(settings)
    texts = item_texts({column: items[column].to_pylist() for column in TEXT_COLUMNS})
    unique = sorted(set(texts))
    folder = model_folder(model)
    cache = VectorCache(settings.state / "embeddings" / fingerprint(folder))
    missing = cache.missing(unique)
    how = ""
    if missing:
        encoder = load_encoder(folder, threads=settings.threads, sample=missing)
        encode_missing(missing, cache, encoder)
        how = f" in {encoder.precision}"
    where = settings.feature_table("item_text")
    vectors = cache.vectors(unique)
    number = {text: position for position, text in enumerate(unique)}
    _write(where, items, np.array([number[text] for text in texts]), vectors)
    detail = f"{len(unique):,} unique texts, {len(missing):,} encoded{how}, {vectors.shape[1]} dimensions"
    return Result("embed-items", items.num_rows, "items", where, time.perf_counter() - started, detail)


def _read_items(settings: Settings) -> pa.Table:
    path = settings.table("items")
    if not path.exists():
        raise FileNotFoundError(f"No items table in {path}; run `endcap ingest`")
    items = pq.read_table(path, columns=["item_id", "available_from", *TEXT_COLUMNS])
    if items.num_rows == 0:
        raise ValueError(f"The items table {path} has no rows; check the source and run `endcap ingest`")
    return items


class VectorCache:
    """Vectors of texts under one model: a folder of Parquet parts, which are added and never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_key: dict[bytes, NDArray[np.float32]] = {}
        for path in sorted(folder.glob("*.parquet")):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            part = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"Cannot read {path}; delete it and run `endcap embed-items`") from error
        vectors = pc.list_flatten(part["vector"]).to_numpy().reshape(part.num_rows, -1)
        self._by_key.update(zip(part["text_key"].to_pylist(), vectors, strict=True))

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of `texts` that have no vector yet, the longest first."""
        return sorted((text for text in texts if text_key(text) not in self._by_key), key=len, reverse=True)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors `(n, dimension)` of texts that are all here."""
        return np.stack([self._by_key[text_key(text)] for text in texts])

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors `(n, dimension)` of `texts`, on disk first."""
        keys = [text_key(text) for text in texts]
        part = pa.table({"text_key": pa.array(keys, pa.binary(16)), "vector": _lists(vectors)})
        self.folder.mkdir(parents=True, exist_ok=True)
        # Named by content, so that two runs at a time write two parts or the same one.
        path = self.folder / f"{hashlib.sha256(b''.join(keys)).hexdigest()[:16]}.parquet"
        aside = path.with_suffix(".aside")
        pq.write_table(part, aside, compression="zstd", use_dictionary=False)
        aside.replace(path)
        self._by_key.update(zip(keys, vectors, strict=True))


def _lists(vectors: NDArray[np.float32]) -> pa.ListArray:
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))


def encode_missing(texts: Sequence[str], cache: VectorCache, encoder: TextEncoder) -> None:
    """Encode `texts` into `cache`, a checkpoint at a time."""
    with _progress(len(texts)) as advance:
        for start in range(0, len(texts), CHECKPOINT):
            chunk = texts[start : start + CHECKPOINT]
            cache.add(chunk, encoder.encode(chunk, advance))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere (a log file) a line every ten seconds."""
    from tqdm import tqdm

    plain = not sys.stderr.isatty()
    line = "{desc}: {n_fmt} of {total_fmt} texts, {rate_fmt}, {remaining} left\n" if plain else None
    with tqdm(
        total=total, desc="embed-items", unit=" texts", bar_format=line, mininterval=10 if plain else 0.2
    ) as bar:
        yield bar.update


def _write(
    folder: Path, items: pa.Table, text_of_item: NDArray[np.intp], vectors: NDArray[np.float32]
) -> None:
    """Write the feature table aside, then rename; rows of equal text stand together (and pack to one).

    It becomes the table's only part: those of a Spark cluster, which writes more, go.
    """
    event = pc.fill_null(items["available_from"].cast(_TIME), pa.scalar(LONG_AGO, _TIME))
    created = pa.scalar(datetime.now(UTC), _TIME)
    order = np.argsort(text_of_item, kind="stable")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "part-0.parquet"
    aside = path.with_suffix(".aside")
    # The embedding column takes no dictionary: whole repeated rows are what zstd finds.
    with pq.ParquetWriter(
        aside, _SCHEMA, compression="zstd", use_dictionary=["event_timestamp", "created_timestamp"]
    ) as writer:
        for start in range(0, len(order), BLOCK):
            rows = order[start : start + BLOCK]
            columns = [
                items["item_id"].take(rows),
                _lists(vectors[text_of_item[rows]]),
                event.take(rows),
                pa.repeat(created, len(rows)),
            ]
            writer.write_table(pa.table(columns, schema=_SCHEMA))
    aside.replace(path)
    for other in set(folder.glob("*.parquet")) - {path}:
        other.unlink()
