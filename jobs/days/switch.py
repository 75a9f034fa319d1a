"""Let the day's release serve: load it, answer real shoppers from the online store, then move `current`.

In: state/days/D/tag, the model store, the online store. Out: the pointer, moved in one rename; a running
service follows it without dropping a request. What cannot answer is not switched to. Of old releases a
month's stay.

    endcap switch --date 2017-12-04
"""

import sys
from datetime import date, datetime, timedelta
from statistics import median

from bentos.blas import use_one_blas_thread
from bentos.candidates import TASKS
from bentos.current_release import set_current
from bentos.online_features import OnlineFeatures
from bentos.recommend import recommend
from bentos.release import Release, load_stored, stored_model
from feature_repo.settings import Settings
from jobs.days.publish import tag_of
from jobs.releases import prune
from jobs.result import Result

SHOPPERS, SLOTS = 50, 10
KEEP = 30  # releases that stay, beside those in use: a month's


class WarmUpError(RuntimeError):
    """The day's release does not answer as it should; the one that serves stays."""


def run(settings: Settings, day: date) -> Result:
    """Warm the day's release and make it current, unless it is; WarmUpError where it does not answer."""
    use_one_blas_thread()
    tag = tag_of(settings, day)
    release = load_stored(stored_model(tag))
    times = warm(settings, release)
    before = settings.current_release.read_text().strip() if settings.current_release.is_file() else ""
    if before != tag:
        set_current(settings, tag, why=f"daily {day}")
    for old in prune(settings, KEEP):
        print(f"  deleted {old}", file=sys.stderr)  # noqa: T201
    detail = f"current -> {tag}, warm at {median(times):.1f} ms an answer"
    return Result("switch", len(times), "answers", settings.current_release, detail=detail)


def warm(settings: Settings, release: Release) -> list[float]:
    """Milliseconds of one answer for each task and some shoppers of the online store."""
    now = datetime.fromisoformat(release.manifest["as_of"])
    features = OnlineFeatures(settings, release, lambda: now)
    features.check()
    times: list[float] = []
    for user_id in shoppers(settings, now):
        for task in TASKS:
            found = recommend(release, features, user_id, k=SLOTS, task=task, now=now, budget_ms=1e9)
            if found.degraded:
                raise WarmUpError(
                    f"{release.tag} answers {user_id} with {'; '.join(found.degraded)}; `current` stays"
                )
            times.append(sum(found.stages_ms.values()))
    return times


def shoppers(settings: Settings, now: datetime) -> list[str]:
    """Those with most baskets of four weeks before an instant."""
    import duckdb

    rows = duckdb.execute(
        "SELECT user_id FROM read_parquet($1) WHERE quantity > 0 AND event_timestamp > $2"
        " GROUP BY user_id ORDER BY count(DISTINCT basket_id) DESC, user_id LIMIT $3",
        [settings.table_parts("transactions"), now - timedelta(days=28), SHOPPERS],
    ).fetchall()
    return [row[0] for row in rows]
