"""The vectors of a lake's items, as `endcap embed-items` makes them of a state folder, by Spark's workers.

In: the items table. Out: the feature table item_text, and the vectors of new texts in the cache that both
share, `embeddings/<fingerprint of the model>/`. torch is imported in the workers alone, which load the model
once each. A task that is done has its vectors in the cache: a batch that breaks down goes on from there.

The model lies where the workers are: in the image, as the bundled package or a folder. Or in the lake: a
gs:// folder is brought to each machine.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from feature_repo.item_text import LONG_AGO, TEXT_COLUMNS, item_texts, text_key
from jobs.lake import Lake

TEXTS_PER_TASK = 4_096  # 5 to 30 s of a CPU core
TEXTS_PER_BATCH = 1_024
TEXT_SCHEMA = "item_id string, event_timestamp timestamp, text string, text_key binary"
VECTOR_SCHEMA = "text_key binary, vector array<float>"


def embed_items(lake: Lake, model: str | None = None, *, gpu: bool = False) -> tuple[int, int, int]:
    """Write the feature table item_text; how many items, unique texts, and texts that were encoded."""
    from jobs.text_encoder import fingerprint

    created = datetime.now(UTC)
    lake.files.settle(lake.feature_table("item_text"))
    items = lake.table("items").select("item_id", known_from(), *TEXT_COLUMNS)
    texts = items.mapInPandas(described, TEXT_SCHEMA).cache()
    n_items = int(texts.count())
    if n_items == 0:
        raise ValueError(
            f"The items table in {lake.root} has no rows; check the source and run `endcap ingest`"
        )
    unique = texts.select("text", "text_key").dropDuplicates(["text_key"]).cache()
    brought = bring(lake.spark, model)
    cache = f"{lake.root}/embeddings/{fingerprint(found(brought))}"
    missing = unique.join(cached(lake, cache).select("text_key"), "text_key", "left_anti").cache()
    n_missing = int(missing.count())
    if n_missing:
        encode(missing, n_missing, brought, cache, gpu=gpu)
    rows = texts.join(cached(lake, cache), "text_key").withColumnRenamed("vector", "text_embedding")
    # Equal vectors stand together, and pack to one.
    together = rows.sortWithinPartitions("text").select("item_id", "text_embedding", "event_timestamp")
    n_written = lake.write_features("item_text", together, created)
    if n_written != n_items:
        raise ValueError(f"{n_written:,} of {n_items:,} items have a vector; delete {cache} and run it again")
    return n_items, int(unique.count()), n_missing


def known_from() -> Any:
    """Since when an item's text is known."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    return F.coalesce("available_from", F.lit(LONG_AGO)).alias("event_timestamp")


def described(frames: Iterator[Any]) -> Iterator[Any]:
    """Items with their text and its key, a frame at a time."""
    for frame in frames:
        texts = item_texts({name: [none_or(value) for value in frame[name]] for name in TEXT_COLUMNS})
        times = frame[["item_id", "event_timestamp"]]
        yield times.assign(text=texts, text_key=[text_key(text) for text in texts])


def none_or(value: Any) -> str | None:
    """A text, or None for what pandas has in its place."""
    return value if isinstance(value, str) else None


def cached(lake: Lake, cache: str) -> Any:
    """Vectors by the keys of their texts, each key once."""
    if not lake.files.names(cache, ".parquet"):
        return lake.spark.createDataFrame([], VECTOR_SCHEMA)
    return lake.spark.read.parquet(f"{cache}/*.parquet").dropDuplicates(["text_key"])


def encode(missing: Any, n_missing: int, model: str | None, cache: str, *, gpu: bool) -> None:
    """Add the vectors of texts to the cache; a task's file is in place when the task is done."""
    tasks = max(-(-n_missing // TEXTS_PER_TASK), 1)
    vectors = missing.repartition(tasks).mapInPandas(partial(encoded, model=model, gpu=gpu), VECTOR_SCHEMA)
    files = vectors.write.mode("append").option("mapreduce.fileoutputcommitter.algorithm.version", "2")
    files.parquet(cache)


def encoded(frames: Iterator[Any], *, model: str | None, gpu: bool) -> Iterator[Any]:
    """Vectors of texts, a frame at a time, on a worker."""
    import pandas as pd

    for frame in frames:
        texts = frame["text"].tolist()
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            rows = slice(start, start + TEXTS_PER_BATCH)
            vectors = encoder(model, gpu=gpu).encode(texts[rows])
            yield pd.DataFrame({"text_key": frame["text_key"].tolist()[rows], "vector": [*vectors]})


@lru_cache(maxsize=1)
def encoder(model: str | None, *, gpu: bool) -> Any:
    """The model of this worker, loaded once; in float32 everywhere, whatever the machine."""
    from jobs.text_encoder import device_here, load_encoder

    return load_encoder(found(model), threads=1, bfloat16=False, device=device_here(gpu=gpu))


def bring(spark: Any, model: str | None) -> str | None:
    """What names the model on each machine: a folder in the lake is brought to all of them."""
    if model is None or "://" not in model:
        return model
    spark.sparkContext.addFile(model, recursive=True)
    return f"brought:{model.rstrip('/').rpartition('/')[2]}"


def found(model: str | None) -> Path:
    """Folder of the model on this machine."""
    from jobs.text_encoder import model_folder

    if model is None or not model.startswith("brought:"):
        return model_folder(model)
    from pyspark import SparkFiles

    return model_folder(SparkFiles.get(model.removeprefix("brought:")))
