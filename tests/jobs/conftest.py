"""One JVM for all tests of Spark jobs; a shop as their input, their rows as a reader of Parquet sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from feature_rows import CALENDAR, Shop

from feature_repo.settings import Settings
from jobs.build_features import read_promotions, read_table
from jobs.features.frames import department_slots
from jobs.spark import spark_session


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of the session that tests share; it ends with the tests."""
    state = tmp_path_factory.mktemp("spark")
    settings = Settings(state=state, reports=state / "reports", threads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")  # small data: compile fast, not well
        spark_session(settings, "tests")
    yield settings
    spark_session(settings, "tests").stop()


@pytest.fixture(scope="module")
def spark(spark_settings: Settings) -> Any:
    """The session; a new one on the same JVM where a test before has stopped it."""
    return spark_session(spark_settings, "tests")


@dataclass(frozen=True)
class Inputs:
    """What feature tables are computed from, as Spark's frames."""

    bought: Any
    ends: Any
    promotions: Any
    slots: list[str]


@pytest.fixture(scope="module")
def take_shop(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Inputs]:
    """Function that writes a shop's tables and reads them into Spark, in some number of partitions."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    from jobs.features.purchases import purchases, week_ends

    def take(shop: Shop, parts: int = 1) -> Inputs:
        settings = shop.write(tmp_path_factory.mktemp("shop"))
        items = read_table(spark, settings, "items")
        bought = purchases(read_table(spark, settings, "transactions"), CALENDAR)
        bought = bought.join(items.select("item_id", "category_1"), "item_id").repartition(parts).cache()
        ends = week_ends(spark, CALENDAR, bought.agg(F.max("week")).first()[0])
        slots = department_slots([], [row["category_1"] for row in shop.items])
        return Inputs(bought, ends, read_promotions(spark, settings), slots)

    return take


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], pd.DataFrame]:
    """Function that writes rows as Parquet and reads them, their event times as microseconds."""
    folder, numbers = tmp_path_factory.mktemp("rows"), count()

    def write(rows: Any) -> pd.DataFrame:
        path = folder / str(next(numbers))
        rows.write.parquet(str(path))
        table = pq.read_table(path)
        micros = table["event_timestamp"].cast("int64")
        place = table.schema.get_field_index("event_timestamp")
        return table.set_column(place, "event_timestamp", micros).to_pandas()

    return write
