"""How long an experiment has to run: users and days for the least lift worth finding.

In: what the shop's own users did before the start and, where pages were shown in the experiment or its
replay, what the control's users did with them. Out: a line for each metric: users and days for one test at
the end, with and without CUPED, and for the sequential test looked at every day.

    endcap experiment plan engine --lift 0.02
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bentos.experiments import METRICS, Experiment, Experiments, load_experiments
from feature_repo.settings import Settings
from jobs.experiments.figures import users_of
from jobs.experiments.history import History, history
from jobs.experiments.lifts import COVARIATES, LEAST_USERS
from jobs.experiments.power import Days, Users, days_needed, smallest_lift, spread_of, users_needed
from jobs.experiments.replay_state import replayed

BASKETS = ("revenue_per_basket", "items_per_basket")  # that transactions tell
PAGES = ("ctr", "repeat_ctr", "discover_ctr", "conversion", "slot_revenue")  # that only pages tell


@dataclass(frozen=True)
class Need:
    """What one way of testing takes: users of treatment and control, and days until they have come."""

    users: Users
    days: Days


@dataclass(frozen=True)
class Line:
    """The plan for one metric; `smallest` is the lift that all users of the history would show."""

    metric: str
    value: float
    once: Need
    cuped: Need
    daily: Need
    smallest: float


@dataclass(frozen=True)
class Wish:
    """What is to be found, and how surely."""

    lift: float
    power: float
    days: int


def run(
    settings: Settings, name: str, *, lift: float | None, power: float, days: int, replay: bool = False
) -> str:
    """The plan of one experiment as text."""
    experiments = load_experiments(settings.experiments_file)
    experiment = experiments.named(name)
    own = replayed(settings, name) if replay else settings
    found = history(settings.table("transactions"), until=experiment.start, days=days)
    users = users_of(own, experiment)
    pages = None if users is None else users.filter(users.arm == experiment.control).to_pandas()
    if pages is not None and len(pages) < LEAST_USERS:
        pages = None
    wish = Wish(lift or experiment.lift, power, days)
    return table(experiment, list(planned(experiments, experiment, found, pages, wish)), found, wish)


def part_of_users(experiments: Experiments, experiment: Experiment, arm: str) -> float:
    """Share of the shop's users that are in one treatment's arm or the control's."""
    open_to_all = 1 - experiments.layers[experiment.layer].holdout
    low, high = experiment.slice
    both = experiment.arms[arm].share + experiment.arms[experiment.control].share
    return open_to_all * (high - low) * experiment.ramp * both


def planned(
    experiments: Experiments, experiment: Experiment, found: History, pages: Any, wish: Wish
) -> Iterator[Line]:
    """A line for each metric that is known; `pages` is a frame of `per_user` of the control's arm, or None.

    Of several treatments, the one with the smallest share is planned for.
    """
    arm = min(experiment.treatments, key=lambda name: experiment.arms[name].share)
    mine, theirs = experiment.arms[arm].share, experiment.arms[experiment.control].share
    came = found.users_by_day * part_of_users(experiments, experiment, arm)
    alpha = experiment.alpha / len(experiment.treatments)
    options = {"power": wish.power, "alpha": alpha}
    for name in (*BASKETS, *PAGES):
        users = found.per_user if name in BASKETS else pages
        metric = METRICS[name]
        if users is None or not users[metric.numerator].sum() > 0:
            continue
        sums = users[metric.numerator], users[metric.denominator]
        top, bottom = COVARIATES[name]
        spread, left = spread_of(*sums), spread_of(*sums, (users[top], users[bottom]))

        def need(of_one: float, looks: int | None) -> Need:
            needed = users_needed(wish.lift, of_one, share=mine / (mine + theirs), looks=looks, **options)
            return Need(needed, days_needed(sum(needed), came))

        all_users = Users(*(max(2, int(came[-1] * each / (mine + theirs))) for each in (mine, theirs)))
        yield Line(
            metric=name,
            value=float(sums[0].sum() / sums[1].sum()),
            once=need(spread, None),
            cuped=need(left, None),
            daily=need(spread, wish.days),
            smallest=smallest_lift(all_users, spread, looks=wish.days, **options),
        )


def table(experiment: Experiment, lines: list[Line], found: History, wish: Wish) -> str:
    """The plan as text."""
    head = (
        f"To find a lift of {wish.lift:.1%} with probability {wish.power:.0%} at alpha {experiment.alpha:g},"
        f" from {len(found.per_user):,} users of {found.since:%Y-%m-%d} to {found.until:%Y-%m-%d}:"
    )
    rows: list[tuple[str, ...]] = [
        ("metric", "now", "once, users", "days", "CUPED, users", "days", "daily, users", "days", "finds")
    ]
    for line in lines:
        needs = (line.once, line.cuped, line.daily)
        cells = [cell for each in needs for cell in (f"{sum(each.users):,}", said(each.days))]
        rows.append((line.metric, f"{line.value:.4g}", *cells, f"{line.smallest:+.1%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = (
        f"Users are of both arms; days are those in which so many came, of {wish.days} looked at.",
        "once: one test at the end; CUPED: the same, with what users did in the 13 weeks before;",
        f"daily: the sequential test, looked at every day; finds: its least lift in {wish.days} days.",
    )
    return "\n".join((head, *text, *notes))


def said(days: Days) -> str:
    """Days as a cell."""
    return "more" if days.days is None else str(days.days)
