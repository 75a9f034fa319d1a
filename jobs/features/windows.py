"""Rolling windows over shop weeks, as running sums of differences: nothing is exploded per window.

What happened in week n counts in the weeks n to n + W - 1 of a window of W weeks, so it adds +1 at n and
-1 at n + W. A distinct thing counts until its next occurrence takes over: -1 at min(next, n + W).
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

WEEKS = {"7d": 1, "28d": 4, "91d": 13, "182d": 26}


def rolling_sums(key: str, names: Mapping[str, str], spans: Sequence[str]) -> list[Column]:
    """Columns `<output>_<span>` with sums of weekly columns over the last weeks of each key.

    They are selected from one row per key and week of a dense grid, nulls for weeks without anything. The
    sum over a frame is exact for the weeks in it: no difference of running sums, no rounding left behind.
    """
    found = []
    for output, column in names.items():
        for span in spans:
            frame = Window.partitionBy(key).orderBy("week").rowsBetween(1 - WEEKS[span], 0)
            found.append(F.coalesce(F.sum(column).over(frame), F.lit(0)).alias(f"{output}_{span}"))
    return found


def distinct_changes(
    occurrences: DataFrame, key: str, thing: str, names: Mapping[str, str], last_week: int
) -> DataFrame:
    """Changes of the number of distinct things in each window: one row per key and week with a change.

    `occurrences` has distinct (key, thing, week). The columns `<span>` in `names` (output by span) are
    to be summed up over all weeks so far.
    """
    ordered = Window.partitionBy(key, thing).orderBy("week")
    following = occurrences.select(key, "week", F.lead("week").over(ordered).alias("following"))
    begins = following.groupBy(key, "week").agg(
        *[F.count(F.lit(1)).alias(output) for output in names.values()]
    )
    changes = begins
    for span, output in names.items():
        over = F.least(F.coalesce("following", F.lit(last_week + 99)), F.col("week") + WEEKS[span])
        ends = following.groupBy(key, over.alias("week")).agg((-F.count(F.lit(1))).alias(output))
        changes = changes.unionByName(ends, allowMissingColumns=True)
    totals = [F.sum(output).alias(output) for output in names.values()]
    return changes.where(F.col("week") <= last_week).groupBy(key, "week").agg(*totals)


def running(column: str, key: str) -> Column:
    """Sum of a column over all weeks of a key so far, 0 before the first."""
    so_far = Window.partitionBy(key).orderBy("week").rowsBetween(Window.unboundedPreceding, 0)
    return F.coalesce(F.sum(column).over(so_far), F.lit(0))
