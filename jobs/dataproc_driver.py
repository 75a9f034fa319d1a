"""What a Spark cluster is given to run: build-features or embed-items over a lake.

    spark-submit --py-files endcap-HASH.zip dataproc_driver.py build-features --root gs://my-shop-lake/state
    spark-submit ... dataproc_driver.py build-features --root gs://my-shop-lake/state --date 2017-12-04
    spark-submit ... dataproc_driver.py embed-items --root gs://my-shop-lake/state --gpu

Beside the zip it needs pyspark, NumPy, pandas and pyarrow; where the workers embed, they need torch and
transformers. The cluster says where it runs: nothing here names a master. Last of all it leaves in the lake,
in `batches/`, what it did, which is how the pipeline knows that the step is done.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from feature_repo.settings import Settings
from jobs.build_on_spark import build_day, build_whole
from jobs.embed_on_spark import embed_items
from jobs.lake import BIGQUERY, Lake
from jobs.spark import spark_session

STEPS = ("build-features", "embed-items")
NOWHERE = Path("/nonexistent")  # a driver has no state folder of its own


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What is to be done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--root", required=True, help="URI of the lake: the state folder.")
    parser.add_argument("--date", type=date.fromisoformat, help="The features of this local day alone.")
    parser.add_argument("--tables", type=dataset, help="bigquery://PROJECT.DATASET to read from.")
    parser.add_argument("--features", type=dataset, help="The same to write to besides.")
    parser.add_argument("--model", help="A BERT: a folder on the workers or in a bucket.")
    parser.add_argument("--gpu", action="store_true", help="Embed on the workers' GPUs.")
    parser.add_argument("--code", default="", help="Hash of the zip, for the record.")
    return parser.parse_args(words)


def dataset(uri: str) -> str:
    """A URI of a dataset in BigQuery."""
    if not uri.startswith(BIGQUERY) or uri.removeprefix(BIGQUERY).count(".") != 1:
        raise argparse.ArgumentTypeError(f"{uri!r} is no dataset; use {BIGQUERY}PROJECT.DATASET")
    return uri


def run(lake: Lake, asked: argparse.Namespace) -> dict[str, Any]:
    """Do the step, and leave the record of it in the lake; it is what `jobs.result.Result` is made of."""
    began, timer = datetime.now(UTC), perf_counter()
    record = lake_record(asked)
    record_uri = f"{lake.root}/{record}"
    lake.files.delete(record_uri)
    notes, rows, detail = [], 0, str(asked.date or "")
    if asked.step == "embed-items":
        rows, n_unique, n_encoded = embed_items(lake, asked.model, gpu=asked.gpu)
        detail = f"{n_unique:,} unique texts, {n_encoded:,} encoded"
    else:
        for name, count, seconds in built(lake, asked.date):
            rows += count
            notes.append(f"{name}: {count:,} rows in {seconds:.1f} s (Spark)")
            say(notes[-1])
    seconds, unit = perf_counter() - timer, "items" if asked.step == "embed-items" else "rows"
    where = f"{lake.root}/features"
    result = {"step": asked.step, "rows": rows, "unit": unit, "where": where, "seconds": seconds}
    result |= {"detail": detail, "notes": notes}
    told = {"began_at": began.isoformat(), "code": asked.code, "model": asked.model or "", "result": result}
    lake.files.write_text(record_uri, json.dumps(told, indent=1))
    say(f"{asked.step}: {rows:,} {unit} in {seconds:.1f} s; {record_uri}")
    return told


def lake_record(asked: argparse.Namespace) -> str:
    """Where in the lake the record of a step lies."""
    return f"batches/{asked.step}{f'-{asked.date.isoformat()}' if asked.date else ''}.json"


def built(lake: Lake, day: date | None) -> Iterator[tuple[str, int, float]]:
    """Feature tables with rows and seconds, as they are done."""
    return build_day(lake, day) if day else build_whole(lake)


def say(line: str) -> None:
    """Tell the driver's log how far it has come."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: Sequence[str]) -> None:
    """Do what the command line says; what is missing becomes one line and exit code 1."""
    asked = arguments(words)
    spark = spark_session(Settings(NOWHERE, NOWHERE, profile="gcp"), f"endcap {asked.step}")
    spark.conf.set("spark.sql.adaptive.coalescePartitions.parallelismFirst", "false")  # few large parts
    try:
        run(Lake(spark, asked.root.rstrip("/"), asked.tables or "", asked.features or ""), asked)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"Error: {error}")
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
