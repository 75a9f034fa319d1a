"""What computes a day's features: the PySpark code, run by Spark or, on one machine, by DuckDB.

A day of a shop that fits one machine is seconds of work, to which a JVM adds half a minute of CPU. Under the
embedded profile SQLFrame answers PySpark's API with SQL for DuckDB: one code, two engines, which a test holds
against each other. Elsewhere, and in a process that has Spark loaded already, it is Spark.

    with day_engine(settings, "endcap build-features") as engine:
        rows = engine.session.read.parquet(...).groupBy(...)
        engine.write(rows, path)
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from feature_repo.settings import Settings
from jobs.spark import spark_session


class DayEngine(Protocol):
    """An engine with a session of PySpark's API."""

    name: str
    session: Any

    def write(self, rows: Any, path: Path) -> None:
        """Write a frame as one Parquet file in the order of its first column."""


@contextmanager
def day_engine(settings: Settings, name: str) -> Iterator[DayEngine]:
    """The engine of this process; what it spilled is gone afterwards."""
    try:
        if settings.profile == "embedded" and "pyspark" not in sys.modules:
            with duckdb_engine(settings) as engine:
                yield engine
        else:
            session = spark_session(settings, name, short=True)
            try:
                yield SparkEngine(session)
            finally:
                session.stop()
    finally:
        shutil.rmtree(settings.state / "spark", ignore_errors=True)


class SparkEngine:
    """Spark, local or a cluster's."""

    name = "Spark"

    def __init__(self, session: Any) -> None:
        self.session = session

    def write(self, rows: Any, path: Path) -> None:
        """Write a frame as one Parquet file in the order of its first column."""
        folder = path.with_name(f"{path.name}.parts")
        rows.coalesce(1).sortWithinPartitions(rows.columns[0]).write.mode("overwrite").parquet(str(folder))
        (written,) = folder.glob("*.parquet")
        written.replace(path)
        shutil.rmtree(folder)


class DuckDBEngine:
    """DuckDB behind PySpark's API."""

    name = "DuckDB"

    def __init__(self, session: Any, connection: Any) -> None:
        self.session, self.connection = session, connection

    def write(self, rows: Any, path: Path) -> None:
        """Write a frame as one Parquet file in the order of its first column."""
        query = f"({rows.sql(dialect='duckdb')})"
        kinds = self.connection.execute(f"DESCRIBE SELECT * FROM {query}").fetchall()
        longs = [f'"{name}"::BIGINT AS "{name}"' for name, kind, *_ in kinds if kind == "HUGEINT"]  # of sums
        columns = f"* REPLACE ({', '.join(longs)})" if longs else "*"
        target = str(path).replace("'", "''")
        ordered = f"SELECT {columns} FROM {query} ORDER BY 1"
        self.connection.execute(f"COPY ({ordered}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


@contextmanager
def duckdb_engine(settings: Settings) -> Iterator[DuckDBEngine]:
    """An engine in memory; from here on `pyspark.sql` is SQLFrame's in this process."""
    import duckdb
    from sqlframe import activate

    scratch = settings.state / "spark"
    # One thread: sums of money would else differ in their last bits from run to run.
    with duckdb.connect(config={"threads": "1", "temp_directory": str(scratch)}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        activate(engine="duckdb", conn=connection)
        from pyspark.sql import SparkSession

        yield DuckDBEngine(SparkSession.builder.getOrCreate(), connection)
