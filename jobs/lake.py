"""A shop's tables and feature tables as a Spark driver reads and writes them: a folder, a bucket, BigQuery.

    lake = Lake(spark, "gs://my-shop-lake/state")
    lake.write_features("item_stats", rows, created)

The lake is the state folder under another name: the same folders, parts and names, so that the next step
finds on a mounted bucket what a batch has left. `bigquery://PROJECT.DATASET.TABLE` goes through Spark's
BigQuery connector, which Dataproc has; everything else is Parquet.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from feature_repo.bigquery.layouts import LAYOUTS
from feature_repo.shop_calendar import ShopCalendar
from jobs.features.frames import PROMOTION_SCHEMA, department_slots, departments
from jobs.hadoop_files import HadoopFiles, hidden

BIGQUERY = "bigquery://"
EVER = "TIMESTAMP '1900-01-01 00:00:00+00:00'"  # a table with partitions must be asked for a span of them


def read(spark: Any, uri: str) -> Any:
    """Rows of a table: of BigQuery, or of the Parquet parts in a folder."""
    if not uri.startswith(BIGQUERY):
        return spark.read.parquet(f"{uri}/*.parquet")
    time = LAYOUTS[uri.rpartition(".")[2]].time
    reader = spark.read.format("bigquery").option("table", uri.removeprefix(BIGQUERY))
    return (reader.option("filter", f"{time} >= {EVER}") if time else reader).load()


def write(rows: Any, uri: str) -> None:
    """Write all rows of a table in the place of those that are there.

    In BigQuery that is one commit, and the table is partitioned and clustered as its layout says. A folder is
    emptied first: give one that nobody reads yet.
    """
    if not uri.startswith(BIGQUERY):
        rows.write.mode("overwrite").parquet(uri)
        return
    layout = LAYOUTS[uri.rpartition(".")[2]]
    writer = rows.write.format("bigquery").mode("overwrite").option("table", uri.removeprefix(BIGQUERY))
    writer = writer.option("writeMethod", "direct").option("clusteredFields", ",".join(layout.order))
    if layout.time:
        writer = writer.option("partitionField", layout.time).option("partitionType", layout.unit)
    writer.save()


@dataclass(frozen=True)
class Lake:
    """One shop's lake.

    Attributes
    ----------
    root
        URI of the state folder
    tables
        bigquery://PROJECT.DATASET where the contract's tables are read there, empty for the lake's own
    features
        the same where whole feature tables are written there besides
    """

    spark: Any
    root: str
    tables: str = ""
    features: str = ""

    @cached_property
    def files(self) -> HadoopFiles:
        """The lake's files."""
        return HadoopFiles(self.spark)

    def calendar(self) -> ShopCalendar:
        """The shop's weeks; FileNotFoundError names the command that writes them."""
        uri = f"{self.root}/tables/calendar.json"
        if not self.files.exists(uri):
            raise FileNotFoundError(f"No calendar in {uri}; run `endcap ingest`")
        return ShopCalendar.from_text(self.files.read_text(uri))

    def table(self, name: str) -> Any:
        """A table of the contract; FileNotFoundError names the command that writes it."""
        folder = f"{self.root}/tables/{name}"
        if not self.files.exists(f"{folder}/base.parquet"):
            raise FileNotFoundError(f"No {name} in {folder}; run `endcap ingest`")
        return self.loaded(name, folder) if self.tables else read(self.spark, folder)

    def loaded(self, name: str, folder: str) -> Any:
        """A table's rows in BigQuery; ValueError where they are not those of the lake, or not yet."""
        there, here = read(self.spark, f"{self.tables}.{name}"), read(self.spark, folder)
        found, expected = extent(there, name), extent(here, name)
        if found != expected:
            raise ValueError(
                f"{self.tables}.{name} has {found}, and {folder} {expected}; run `endcap load` first,"
                " or leave out --tables"
            )
        return there

    def promotions(self) -> Any:
        """Promotions; none where a shop has no such table."""
        if not self.files.exists(f"{self.root}/tables/promotions/base.parquet"):
            return self.spark.createDataFrame([], PROMOTION_SCHEMA)
        return self.table("promotions")

    def slots(self, items: Any) -> list[str]:
        """Department slots of this shop, kept beside the feature tables."""
        uri = f"{self.root}/features/departments.json"
        self.files.settle(uri)
        known = json.loads(self.files.read_text(uri)) if self.files.exists(uri) else []
        slots = department_slots(known, departments(items))
        if slots != known:
            self.files.write_text(uri, json.dumps(slots, indent=1))
        return slots

    def feature_table(self, name: str) -> str:
        """Folder of a feature table's parts."""
        return f"{self.root}/features/{name}"

    def write_features(self, name: str, rows: Any, created: datetime) -> int:
        """Write a whole feature table aside, then put it in its place; how many rows it has."""
        final = self.feature_table(name)
        aside = hidden(final, "aside")
        write(stamped(rows, created), aside)
        self.files.put(aside, final)
        written = self.spark.read.parquet(final)
        if self.features:
            write(written, f"{self.features}.{name}")
        return int(written.count())

    def write_day(self, name: str, day: date, rows: Any, created: datetime) -> int:
        """Write a feature table's part of a day aside, then put it in its place; how many rows it has."""
        final = f"{self.feature_table(name)}/day-{day.isoformat()}.parquet"
        aside = hidden(final, "parts")
        ordered = stamped(rows, created).repartition(1).sortWithinPartitions(rows.columns[0])
        ordered.write.mode("overwrite").parquet(aside)
        (part,) = self.files.names(aside, ".parquet")
        self.files.put(f"{aside}/{part}", final)
        self.files.delete(aside)
        return int(self.spark.read.parquet(final).count())


def extent(rows: Any, name: str) -> str:
    """How many rows a table has, and how far they go, as text."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    time = LAYOUTS[name].time
    if time is None:
        return f"{rows.count():,} rows"
    count, last = rows.agg(F.count(F.lit(1)), F.max(time).cast("string")).first()
    return f"{count:,} rows up to {last}"


def stamped(rows: Any, created: datetime) -> Any:
    """Rows with the moment at which they were made."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    return rows.withColumn("created_timestamp", F.lit(created).cast("timestamp"))
