"""A plan is what the formulas of power say of the shop's history, told in a table."""

from datetime import timedelta

import numpy as np
import pytest
import recorded_shop
from experiment_log import users
from recorded_shop import BEGIN

from bentos.assignment import Assigned, assigned
from bentos.event_log import Event, EventLog
from bentos.experiments import METRICS, Experiments
from bentos.exposure_log import Exposure, ExposureLog
from bentos.recommend import Recommendation
from bentos.slots import Slot
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from jobs.experiments.history import history
from jobs.experiments.planning import Wish, part_of_users, planned, run, said
from jobs.experiments.power import PlanError, days_needed, smallest_lift, spread_of, users_needed

START = BEGIN + timedelta(days=120)
DAYS = 28
HALVES = {"old": {"share": 0.5, "legacy": "segment"}, "new": {"share": 0.5}}
UNEQUAL = {"old": {"share": 0.6, "legacy": "segment"}, "new": {"share": 0.3}, "other": {"share": 0.1}}


def experiments(arms=HALVES, holdout=0.0, **more):
    """A file with one experiment."""
    fields = {"layer": "page", "arms": arms, "control": "old", "primary": "ctr", "start": START, **more}
    return Experiments.model_validate(
        {"layers": {"page": {"holdout": holdout}}, "experiments": {"engine": fields}}
    )


@pytest.fixture
def settings(tmp_path):
    """Settings over a recording of 60 users."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    lines = recorded_shop.random_lines(2, n_baskets=900, n_users=60, days=150)
    recorded_shop.write(settings, lines)
    return settings


@pytest.fixture
def ground(settings):
    """What they did in the four weeks before the experiment."""
    return history(settings.table("transactions"), until=START, days=DAYS)


@pytest.mark.parametrize(
    ("arms", "more"),
    [
        (HALVES, {}),
        (HALVES, {"holdout": 0.2}),
        (HALVES, {"ramp": 0.3, "holdout": 0.1}),
        (UNEQUAL, {"slice": (0.25, 0.75), "ramp": 0.8, "holdout": 0.1}),
    ],
    ids=["all", "holdout", "ramp", "slice"],
)
def test_the_part_of_users_is_that_of_the_assignment(arms, more):
    """As many of 30,000 users as the assignment puts into one of the two arms, but for chance."""
    told = experiments(arms, **more)
    found = [assigned(told, f"u{n}", START).arms.get("engine") for n in range(30_000)]
    for arm in told.experiments["engine"].treatments:
        part = part_of_users(told, told.experiments["engine"], arm)
        assert np.isin(found, ["old", arm]).mean() == pytest.approx(part, abs=0.01)


@pytest.mark.parametrize("arms", [HALVES, UNEQUAL], ids=["halves", "unequal"])
@pytest.mark.parametrize("pages", [None, users(300)], ids=["transactions", "pages"])
def test_lines_are_what_the_formulas_say(ground, arms, pages):
    """Each metric's spread, users, days and smallest lift, each by its own call."""
    told = experiments(arms, holdout=0.1, alpha=0.04)
    experiment, wish = told.experiments["engine"], Wish(0.3, 0.7, DAYS)
    lines = {line.metric: line for line in planned(told, experiment, ground, pages, wish)}
    baskets = {"revenue_per_basket": "revenue", "items_per_basket": "items"}
    clicks = ["ctr", "repeat_ctr", "discover_ctr", "conversion", "slot_revenue"]
    assert list(lines) == [*baskets, *(clicks if pages is not None else [])]
    smallest = 0.1 if arms is UNEQUAL else 0.5  # the share of the arm that takes longest
    both = smallest + arms["old"]["share"]
    alpha = 0.04 / (len(arms) - 1)
    came = ground.users_by_day * 0.9 * both
    in_all = [int(came[-1] * share / both) for share in (smallest, arms["old"]["share"])]
    for name, line in lines.items():
        frame, metric = ground.per_user if name in baskets else pages, METRICS[name]
        sums = frame[metric.numerator], frame[metric.denominator]
        before = "pre_revenue" if "revenue" in name else "pre_items"
        plain, left = spread_of(*sums), spread_of(*sums, (frame[before], frame.pre_baskets))
        assert line.value == pytest.approx(sums[0].sum() / sums[1].sum())
        for need, spread, looks in [
            (line.once, plain, None),
            (line.cuped, left, None),
            (line.daily, plain, DAYS),
        ]:
            options = {"power": 0.7, "alpha": alpha, "share": smallest / both, "looks": looks}
            assert need.users == users_needed(0.3, spread, **options)
            assert need.days == days_needed(sum(need.users), came)
        assert line.smallest == smallest_lift(
            type(need.users)(*in_all), plain, power=0.7, alpha=alpha, looks=DAYS
        )


def test_a_metric_that_was_never_above_0_is_left_out(ground):
    """There is no lift over nothing."""
    pages = users(300).assign(discover_clicks=0)
    told = experiments()
    lines = planned(told, told.experiments["engine"], ground, pages, Wish(0.3, 0.8, DAYS))
    assert "discover_ctr" not in [line.metric for line in lines]


def table(text):
    """Head, rows by metric, notes."""
    head, columns, *rest = text.splitlines()
    return head, columns.split(), {line.split()[0]: line.split()[1:] for line in rest[:-3]}, rest[-3:]


def write(settings, **more):
    """An experiments' file as an operator writes it."""
    told = experiments(**more).model_dump_json(exclude={"experiments": {"engine": {"name"}}})
    settings.experiments_file.write_text(told)


def test_a_plan_is_told_in_a_table(settings, ground):
    """What is looked for, of whom, and for each metric users and days: more than a small shop has."""
    write(settings)
    head, columns, rows, notes = table(run(settings, "engine", lift=2.0, power=0.8, days=DAYS))
    since = f"{START - timedelta(days=DAYS):%Y-%m-%d}"
    n = len(ground.per_user)
    assert head == (
        "To find a lift of 200.0% with probability 80% at alpha 0.05, "
        f"from {n} users of {since} to {START:%Y-%m-%d}:"
    )
    assert columns[:4] == ["metric", "now", "once,", "users"]
    assert rows.keys() == {"revenue_per_basket", "items_per_basket"}
    (line, _) = planned(
        experiments(), experiments().experiments["engine"], ground, None, Wish(2.0, 0.8, DAYS)
    )
    assert rows[line.metric] == [
        f"{line.value:.4g}",
        *(
            cell
            for each in (line.once, line.cuped, line.daily)
            for cell in (str(sum(each.users)), said(each.days))
        ),
        f"{line.smallest:+.1%}",
    ]
    assert line.once.days.days is not None
    assert "of 28 looked at" in notes[0]
    few = table(run(settings, "engine", lift=0.01, power=0.8, days=DAYS))[2]
    assert all(cells[2::2][:3] == ["more"] * 3 for cells in few.values())


def test_without_a_lift_the_experiments_own_is_looked_for(settings):
    """What the file says is worth finding."""
    write(settings, lift=0.125)
    assert "a lift of 12.5% with" in run(settings, "engine", lift=None, power=0.8, days=DAYS)


@pytest.mark.parametrize("n", [1, 2])
def test_pages_are_a_ground_from_two_users_on(settings, n):
    """A log that has just begun does not keep from planning what transactions tell."""
    write(settings, arms={"a": {"share": 0.5}, "b": {"share": 0.5, "legacy": "segment"}}, control="a")
    log = ExposureLog(settings.exposure_log)
    for user in range(n):
        slots = tuple(Slot(f"i{rank}", "", 0.0, rank, (), "") for rank in range(1, 6))
        page = Recommendation(f"u{user}", "all", "r:1", slots)
        at = microseconds(START + timedelta(hours=1))
        log.append([Exposure(f"r{user}", page, 5, at, 1.0, Assigned({"engine": "a"}))])
    log.close()
    log = EventLog(settings.event_log)
    log.append([[Event("e", "click", "u0", "i2", None, "r0")]], now_us=at, arrived_s=0.0)
    log.close()
    found = table(run(settings, "engine", lift=None, power=0.8, days=DAYS))[2]
    assert ("ctr" in found) == (n == 2)
    assert {"revenue_per_basket", "items_per_basket"} <= found.keys()


def test_a_history_without_users_is_told(settings):
    """An experiment that begins before all that is known."""
    write(settings, start=BEGIN)
    with pytest.raises(PlanError, match="has no purchases from 2023-12-04 to 2024-01-01"):
        run(settings, "engine", lift=None, power=0.8, days=DAYS)
