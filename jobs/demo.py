"""The whole stack on a real grocer's year: pipeline, quality table, a server, one shopper's recommendations.

endcap demo
"""

import statistics
import time
from collections.abc import Iterator

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.local_server import local_server
from jobs.pipeline import Pipeline, Say
from jobs.publish import quality_records
from jobs.recommend import TASKS, ask, table
from jobs.steps import Choices

WARM_CALLS = 20


def run(settings: Settings, choices: Choices, *, say: Say, head: Say) -> None:
    """Do what is not done yet, show how good it is, then ask the served path for one shopper."""
    Pipeline(settings).run(choices, say=say, head=head, notes=False)
    say(f"\nQuality in the two weeks after cut {choices.cut}, never trained on:")
    say(quality_table(settings, choices.cut))
    user_id, baskets = typical_user(settings, choices.cut)
    head(f"Starting the server, log in {settings.state / 'serve.log'}")
    with local_server(settings) as server:
        for task in TASKS:
            answer = ask(server.url, user_id, task=task)
            say(f"\nUser {user_id} ({baskets} baskets before the cut), task {task}:\n{table(answer)}")
        latencies = list(_latencies_ms(server.url, user_id))
        say(f"\n{len(latencies)} more requests over HTTP: median {statistics.median(latencies):.1f} ms each")
    say(
        f"\nNext: endcap serve, then in another terminal: endcap recommend {user_id} --task discover\n"
        f"      quality with intervals and plots: {settings.reports / 'quality.html'}"
    )


def quality_table(settings: Settings, cut: int) -> str:
    """The evaluation of one cut as text, read from the report's JSON."""
    from training import quality_report

    text: str = quality_report.table(quality_records(settings, cut))
    return text


def typical_user(settings: Settings, cut: int) -> tuple[str, int]:
    """User with the median number of baskets before the end of week `cut`, and that number."""
    import duckdb

    end = ShopCalendar.load(settings.shop_calendar).end(cut)
    rows = duckdb.execute(
        "select user_id, count(distinct basket_id) as baskets from read_parquet($1)"
        " where quantity > 0 and event_timestamp < $2 group by user_id order by baskets, user_id",
        [settings.table_parts("transactions"), end],
    ).fetchall()
    if not rows:
        raise ValueError(f"No purchases before {end:%Y-%m-%d} (cut {cut}); choose a later cut")
    user_id, baskets = rows[len(rows) // 2]
    return str(user_id), int(baskets)


def _latencies_ms(url: str, user_id: str) -> Iterator[float]:
    """Wall time of each of `WARM_CALLS` requests, as a client sees it."""
    for _ in range(WARM_CALLS):
        begin = time.perf_counter()
        ask(url, user_id)
        yield (time.perf_counter() - begin) * 1000
