"""What an experiment's shoppers were shown and did: sums per user, and per user and day.

In: the log as Ibis tables (`attribution.py` says which rows count), for a pre-period the contract's
transactions. Out: Ibis expressions that DuckDB runs on Parquet and BigQuery on its tables; small when they
arrive, as all that is big is summed where it lies.

    log = ibis.duckdb.connect()
    tables = [log.read_parquet(folder / name) for name in ("exposures", "slots", "events")]
    users = per_user(*tables, experiment, pre=log.read_parquet(transactions))
    records = analyse(users.to_pandas(), experiment)

What is shown is credited to the day of its answer, whenever the outcome came. What a user bought in all is
credited to the day of the basket: every purchase from the first answer until the last one and its window,
whatever led to it. Purchases of one user at one time are a basket.
"""

from datetime import timedelta

import ibis
from ibis import _
from ibis.expr.types import Table

from bentos.experiments import Experiment
from jobs.experiments.attribution import answers_of, instant, items_shown, judged, told_once, window

PRE = timedelta(weeks=13)  # before an experiment starts: a quarter, so that who comes once a month is in it
COUNTS = ("answers", "slots", "clicks", "repeat_clicks", "discover_clicks", "bought_slots", "bought_answers",
          "baskets", "items", "degraded")  # fmt: skip
AMOUNTS = ("slot_revenue", "revenue", "latency_ms")
SUMS = (*COUNTS, *AMOUNTS)
PRE_SUMS = ("pre_baskets", "pre_items", "pre_revenue")
STAGES = {"answers": "answers", "slots": "slots", "clicks": "clicks", "bought": "bought_slots"}
PERCENTILES = (50, 95, 99)
SEGMENTS = ("new", "light", "regular", "heavy")  # by what was bought in the PRE, least first


def per_user_day(exposures: Table, slots: Table, events: Table, experiment: Experiment) -> Table:
    """One row per user and day (UTC) on which something was shown to them or bought: user_id, arm, day, SUMS.

    `first_at` is the day's first answer, null where there is none. The latest days are complete only when
    the experiment's window has passed over them.
    """
    answers = answers_of(exposures, experiment).filter(~_.left_out)
    outcomes = judged(exposures, slots, events, experiment).filter(_.reason.isnull())
    purchases = told_once(events).filter(_.nth == 0, _.kind == "purchase")
    shown = _shown_by_day(_pages(answers, slots, outcomes))
    bought = _bought_by_day(answers, purchases, experiment)
    return _summed(ibis.union(_with_all_sums(shown), _with_all_sums(bought)), "user_id", "arm", "day")


def per_user(
    exposures: Table, slots: Table, events: Table, experiment: Experiment, *, pre: Table | None = None
) -> Table:
    """One row per user with an answer in the analysis: user_id, arm, first_at, SUMS.

    With `pre`, the contract's transactions, also PRE_SUMS: baskets, lines and money of the PRE before the
    experiment's start, 0 where there is nothing.
    """
    users = _summed(per_user_day(exposures, slots, events, experiment), "user_id", "arm")
    if pre is None:
        return users
    before = _before(pre, experiment)
    joined = users.left_join(before, "user_id").select(users, *(before[name] for name in PRE_SUMS))
    return joined.mutate(**{name: joined[name].fill_null(0) for name in PRE_SUMS})


def with_activity(users: Table) -> Table:
    """`per_user` with a `segment` by what was bought in the pre-period: one of SEGMENTS.

    New bought nothing; the others are parted in three by their baskets, who has as many in one part.
    """
    known = users.pre_baskets > 0
    rank = ibis.percent_rank().over(group_by=known, order_by=users.pre_baskets)
    new, light, regular, heavy = SEGMENTS
    segment = ibis.cases((~known, new), (rank < 1 / 3, light), (rank < 2 / 3, regular), else_=heavy)
    return users.mutate(segment=segment)


def funnel(users: Table) -> Table:
    """How many of each arm's answers, slots, clicked slots and bought slots there are: arm and the STAGES."""
    sums = {stage: users[column].sum() for stage, column in STAGES.items()}
    return users.group_by("arm").aggregate(**sums).order_by("arm")


def latency(exposures: Table, experiment: Experiment) -> Table:
    """Percentiles of the time of an answer in ms: arm, p50, p95, p99.

    The smallest time that at least that share of the arm's answers keep within (nearest rank).
    """
    timed = answers_of(exposures, experiment).filter(~_.left_out, _.latency_ms.notnull())
    share = timed.select("arm", "latency_ms").mutate(
        within=ibis.cume_dist().over(group_by="arm", order_by="latency_ms")
    )
    sums = {f"p{p}": share.latency_ms.min(where=share.within >= p / 100) for p in PERCENTILES}
    return share.group_by("arm").aggregate(**sums).order_by("arm")


def _pages(answers: Table, slots: Table, outcomes: Table) -> Table:
    """Answers with what came of their slots; a slot is clicked once, however often someone clicked."""
    of_slot = outcomes.group_by("request_id", "item_id").aggregate(
        clicked=_.count(where=_.kind == "click") > 0,
        bought=_.count(where=_.kind == "purchase") > 0,
        paid=_.amount.sum(where=_.kind == "purchase"),
    )
    shown = items_shown(slots).semi_join(answers, "request_id")
    shown = shown.left_join(of_slot, ["request_id", "item_id"]).drop("request_id_right", "item_id_right")
    pages = shown.group_by("request_id").aggregate(
        slots=_.count(),
        clicks=_.count(where=_.clicked),
        repeat_clicks=_.count(where=_.clicked & _.bought_before),
        discover_clicks=_.count(where=_.clicked & ~_.bought_before),
        bought_slots=_.count(where=_.bought),
        slot_revenue=_.paid.sum(),
    )
    return answers.left_join(pages, "request_id").drop("request_id_right")


def _shown_by_day(pages: Table) -> Table:
    """Sums of pages by user and day of the answer."""
    of_slots = ("slots", "clicks", "repeat_clicks", "discover_clicks", "bought_slots", "slot_revenue")
    return pages.group_by("user_id", "arm", day=_.shown_at.date()).aggregate(
        first_at=_.shown_at.min(),
        answers=_.count(),
        bought_answers=_.count(where=_.bought_slots > 0),
        degraded=_.count(where=_.degraded),
        latency_ms=_.latency_ms.sum(),
        **{name: pages[name].sum() for name in of_slots},
    )


def _bought_by_day(answers: Table, purchases: Table, experiment: Experiment) -> Table:
    """Sums of all that users bought from their first answer until their last one and its window."""
    users = answers.group_by("user_id", "arm").aggregate(since=_.shown_at.min(), last=_.shown_at.max())
    bought = purchases.inner_join(users, "user_id")
    bought = bought.filter(_.happened_at >= _.since, _.happened_at <= _.last + window(experiment))
    return bought.group_by("user_id", "arm", day=_.happened_at.date()).aggregate(
        revenue=_.amount.sum(), baskets=_.happened_at.nunique(), items=_.count()
    )


def _with_all_sums(table: Table) -> Table:
    """A table of sums with the columns of `per_user_day`, in their order: 0 for the sums that it lacks."""
    first = table.first_at if "first_at" in table.columns else ibis.null("timestamp('UTC')")
    sums = {
        name: (table[name].fill_null(0) if name in table.columns else ibis.literal(0)).cast(type_)
        for names, type_ in ((COUNTS, "int64"), (AMOUNTS, "float64"))
        for name in names
    }
    return table.select("user_id", "arm", "day", first_at=first.cast("timestamp('UTC')"), **sums)


def _summed(table: Table, *keys: str) -> Table:
    """Sums by key, with the earliest `first_at`."""
    return table.group_by(*keys).aggregate(
        first_at=_.first_at.min(), **{name: table[name].sum() for name in SUMS}
    )


def _before(transactions: Table, experiment: Experiment) -> Table:
    """PRE_SUMS by user: of what was bought, not returned, in the PRE before the experiment's start."""
    since, start = instant(experiment.start - PRE), instant(experiment.start)
    bought = transactions.filter(_.quantity > 0, _.event_timestamp >= since, _.event_timestamp < start)
    return bought.group_by("user_id").aggregate(
        pre_baskets=_.basket_id.nunique(), pre_items=_.count(), pre_revenue=_.price_paid.sum()
    )
