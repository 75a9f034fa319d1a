"""A real shop as it was at the end of a day, for tests of the days after it."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.shop_calendar import ShopCalendar

TIMES = {"transactions": "event_timestamp", "promotions": "starts_at"}
FEATURES = ("user_stats", "user_history", "item_stats", "item_coming_promotions")
WEEKS = {"promotions": 16, "item_stats": 13, "item_coming_promotions": 6}  # most rows of a shop


def earlier(installation, folder, until):
    """Settings of a copy in which nothing of a later day is known, and the online store was never filled.

    Of promotions and items' numbers it has the last weeks alone.
    """
    shutil.copytree(
        installation.state, folder / "state", ignore=shutil.ignore_patterns("online_store*", "logs")
    )
    settings = replace(installation, state=folder / "state", reports=folder / "reports")
    end = ShopCalendar.load(settings.shop_calendar).day_end(until)
    for name in (*TIMES, *FEATURES):
        folder = settings.table(name).parent if name in TIMES else settings.feature_table(name)
        since = end - timedelta(weeks=WEEKS[name]) if name in WEEKS else None
        for path in folder.glob("*.parquet"):
            leave_out(path, TIMES.get(name, "event_timestamp"), since, end)
    (settings.state / "steps" / "materialize.json").unlink()
    ingest = settings.state / "tables" / "ingest.json"
    record = json.loads(ingest.read_text())
    ingest.write_text(json.dumps({**record, "until": until.isoformat()}))
    return settings


def leave_out(path, time, since, end):
    """Rewrite a Parquet file without the rows whose time is not in the span."""
    rows = pq.read_table(path)
    kept = pc.less_equal(rows[time], end)
    pq.write_table(rows.filter(kept if since is None else pc.and_(kept, pc.greater(rows[time], since))), path)
