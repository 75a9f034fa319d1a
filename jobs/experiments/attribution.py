"""Which answer an outcome belongs to, and which outcomes belong to none and why.

In: the log as Ibis tables, from Parquet or BigQuery, all times UTC: `exposures` (a row per answer and
experiment), `slots` (a row per answer and item shown) and `events` (what shoppers did). Out: expressions; who
runs them pays for one pass over the log.

An outcome is a click or a purchase. One that names the answer it came from (`request_id`) is credited to that
answer's slot of its item; one that names none, to the last time that the item was shown to the shopper, in
any experiment or none, within the window. Each is credited once. What names an answer and cannot be credited
is counted under a reason, the first that holds in the order of OUTCOME_REASONS. An outcome that names none,
of an item that was not shown in time, is neither: shoppers buy without us.
"""

from datetime import UTC, datetime, timedelta

import ibis
from ibis import _
from ibis.expr.types import IntegerValue, IntervalScalar, StringValue, Table, TimestampScalar

from bentos.experiments import Experiment

SKEW = timedelta(seconds=60)  # how far the clocks of two servers may be apart
OUTCOMES = ("click", "purchase")
_SKEW = ibis.interval(seconds=round(SKEW.total_seconds()))

TWICE = "outcomes told twice"
LEFT_OUT = "outcomes of answers left out"  # forced, or of users in two arms
UNKNOWN = "outcomes without an exposure"
OTHER_USER = "outcomes of another user"
OFF_PAGE = "outcomes of items that were not on the page"
EARLY = "outcomes before their exposure"
LATE = "outcomes after the window"
OUTCOME_REASONS = (TWICE, LEFT_OUT, UNKNOWN, OTHER_USER, OFF_PAGE, EARLY, LATE)

ANSWER_TWICE = "answers logged twice"
FORCED = "forced answers"
CROSSED = "users in two arms"


def answers_of(exposures: Table, experiment: Experiment) -> Table:
    """An experiment's answers, one row each: as logged, with `left_out` for what is not analysed.

    Left out are answers that a tester `forced`, and all of a user who `crossed` from one arm to another.
    """
    mine = exposures.filter(_.experiment == experiment.name).mutate(forced=_.forced.fill_null(False))
    mine = mine.mutate(nth=_nth("request_id", "shown_at")).filter(_.nth == 0).drop("nth")
    assigned = ibis.ifelse(mine.forced, ibis.null("string"), mine.arm)
    both = {"low": assigned.min(), "high": assigned.max()}
    arms = mine.group_by("user_id").aggregate(**both).mutate(crossed=(_.low != _.high).fill_null(False))
    joined = mine.left_join(arms, "user_id").select(mine, arms.crossed)
    return joined.mutate(left_out=_.forced | _.crossed)


def items_shown(slots: Table) -> Table:
    """Every item of every answer once: request_id, item_id, bought_before."""
    return slots.group_by("request_id", "item_id").aggregate(
        bought_before=_.bought_before.fill_null(False).cast("int64").max() > 0
    )


def told_once(events: Table) -> Table:
    """Events with `nth`, which is 0 for the first of each event_id and more for its repetitions."""
    return events.mutate(nth=_nth("event_id", "happened_at"))


def judged(exposures: Table, slots: Table, events: Table, experiment: Experiment) -> Table:
    """The outcomes that concern an experiment, each with the answer it names or was found for.

    Columns: event_id, kind, item_id, amount, request_id, and `reason`: null where it is credited.
    """
    outcomes = told_once(events).filter(_.kind.isin(OUTCOMES))
    answers, shown = answers_of(exposures, experiment), items_shown(slots)
    named, unnamed = outcomes.filter(_.request_id.notnull()), outcomes.filter(_.request_id.isnull())
    return ibis.union(
        _of_named(named, answers, shown, experiment),
        _of_unnamed(unnamed, exposures, answers, shown, experiment),
        _of_unknown(named, exposures, answers, experiment),
    )


def rejected(exposures: Table, slots: Table, events: Table, experiment: Experiment) -> Table:
    """How many outcomes, answers and users are not in the analysis: reason, value; nothing for none."""
    outcomes = judged(exposures, slots, events, experiment).filter(_.reason.notnull()).select("reason")
    answers = answers_of(exposures, experiment)
    logged = exposures.filter(_.experiment == experiment.name)
    again = logged.mutate(nth=_nth("request_id", "shown_at")).filter(_.nth > 0)
    every = ibis.union(
        outcomes,
        again.select(reason=ibis.literal(ANSWER_TWICE)),
        answers.filter(_.forced).select(reason=ibis.literal(FORCED)),
        answers.filter(_.crossed).select("user_id").distinct().select(reason=ibis.literal(CROSSED)),
    )
    return every.group_by("reason").aggregate(value=_.count()).order_by("reason")


def window(experiment: Experiment) -> IntervalScalar:
    """How long after an exposure an outcome counts."""
    return ibis.interval(seconds=round(experiment.window_hours * 3600))


def instant(at: datetime) -> TimestampScalar:
    """A moment as a literal of UTC."""
    return ibis.literal(at.astimezone(UTC), "timestamp('UTC')")


def _of_named(named: Table, answers: Table, shown: Table, experiment: Experiment) -> Table:
    """Outcomes that name an answer of the experiment."""
    theirs = answers.select("request_id", "shown_at", "left_out", answer_user=_.user_id)
    page = shown.select("request_id", "item_id", on_page=ibis.literal(True))
    both = named.inner_join(theirs, "request_id").left_join(page, ["request_id", "item_id"])
    reason = ibis.cases(
        (both.nth > 0, TWICE),
        (both.left_out, LEFT_OUT),
        (both.user_id != both.answer_user, OTHER_USER),
        (both.on_page.isnull(), OFF_PAGE),
        (both.happened_at < both.shown_at - _SKEW, EARLY),
        (both.happened_at > both.shown_at + window(experiment), LATE),
    )
    return _judged(both, reason)


def _of_unnamed(
    unnamed: Table, exposures: Table, answers: Table, shown: Table, experiment: Experiment
) -> Table:
    """Outcomes that name no answer, with the last that showed their item, where it is the experiment's.

    Shown before they happened, by the clock alone: nothing else says which came first.
    """
    every = exposures.semi_join(answers, "user_id")
    every = every.group_by("request_id", "user_id").aggregate(shown_at=_.shown_at.min())
    pages = every.inner_join(shown, "request_id").select("request_id", "user_id", "item_id", "shown_at")
    before = unnamed.drop("request_id").inner_join(pages, ["user_id", "item_id"])
    before = before.filter(_.shown_at <= _.happened_at, _.happened_at <= _.shown_at + window(experiment))
    latest = [ibis.desc("shown_at"), ibis.desc("request_id")]
    before = before.mutate(back=ibis.row_number().over(group_by=["event_id", "nth"], order_by=latest)).filter(
        _.back == 0
    )
    both = before.inner_join(answers.select("request_id", "left_out"), "request_id")
    return _judged(both, ibis.cases((both.nth > 0, TWICE), (both.left_out, LEFT_OUT)))


def _of_unknown(named: Table, exposures: Table, answers: Table, experiment: Experiment) -> Table:
    """Outcomes that name an answer that nobody logged, while the experiment ran and its windows were open.

    Of its own users: what all others of the shop do is many times what those of a small ramp do.
    """
    over = window(experiment)
    lost = named.semi_join(answers, "user_id").anti_join(exposures, "request_id")
    lost = lost.filter(_.happened_at >= instant(experiment.start) - _SKEW)
    if experiment.end is not None:
        lost = lost.filter(_.happened_at <= instant(experiment.end) + over)
    return _judged(lost, ibis.cases((lost.nth > 0, TWICE), else_=UNKNOWN))


def _nth(key: str, when: str) -> IntegerValue:
    """Counts the rows of a key from 0, the earliest first."""
    return ibis.row_number().over(group_by=key, order_by=when)


def _judged(outcomes: Table, reason: StringValue) -> Table:
    """The columns of `judged`."""
    return outcomes.select("event_id", "kind", "item_id", "amount", "request_id", reason=reason)
