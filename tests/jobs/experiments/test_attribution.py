"""Every outcome is credited to the answer it belongs to, or counted under the reason why not."""

from collections import Counter

import ibis
import pytest
import sqlglot
from experiment_log import answer, at, event, experiment, page, random_log, rows_of, tables, unbound
from experiment_loops import Loops

from jobs.experiments import attribution as why
from jobs.experiments.attribution import answers_of, judged, rejected

DAY = 24 * 60  # the window, in minutes


def log(*events, exposures=(), slots=()):
    """User u was shown milk and tea by r1 in arm a; v was shown tea by r2 in arm b."""
    shown = [answer("r1", "u", 0), answer("r2", "v", 0, "b"), *exposures]
    pages = [*page("r1", ["milk", "tea"]), *page("r2", ["tea"]), *slots]
    found = tables(exposures=shown, slots=pages, events=list(events))
    return found["exposures"], found["slots"], found["events"], experiment()


def reasons(found):
    """Outcomes that concern the experiment: (event, answer, reason), in order of the events."""
    rows = [(row["event_id"], row["request_id"], row["reason"]) for row in rows_of(judged(*found))]
    return sorted(rows, key=str)


def counted(found):
    """Counts by reason."""
    return {row["reason"]: row["value"] for row in rows_of(rejected(*found))}


def test_an_outcome_that_names_its_answer_is_credited_or_refused():
    """User, page and time decide, with a minute of tolerance before the answer; the first reason counts."""
    cases = [
        ("at once", 0, "u", "milk", "r1", None),
        ("by another clock", -1, "u", "milk", "r1", None),
        ("early", -1.02, "u", "milk", "r1", why.EARLY),
        ("in time", DAY, "u", "milk", "r1", None),
        ("late", DAY + 0.02, "u", "milk", "r1", why.LATE),
        ("other user", 5, "v", "tea", "r1", why.OTHER_USER),
        ("off page", 5, "u", "jam", "r1", why.OFF_PAGE),
        ("unknown", 5, "u", "milk", "r9", why.UNKNOWN),
        ("all wrong", -2, "v", "jam", "r1", why.OTHER_USER),
    ]
    found = log(
        *[event(name, "click", user, item, at, request) for name, at, user, item, request, _ in cases]
    )
    assert reasons(found) == sorted((name, request, why_) for name, *_, request, why_ in cases)
    assert counted(found) == Counter(why_ for *_, why_ in cases if why_)


def test_an_outcome_that_names_no_answer_goes_to_the_last_that_showed_its_item():
    """Or to nobody, and is no reject either."""
    cases = [
        (1, "milk", "r1"),
        (30, "milk", "r3"),  # the last one that showed it
        (31, "tea", "r1"),  # r3 did not show tea
        (30 + DAY, "milk", "r3"),
        (30.02 + DAY, "milk", None),
        (-0.5, "milk", None),  # no tolerance where nobody says which answer it was
        (5, "jam", None),
        (51, "egg", "r5"),  # r4 showed it at the same time
    ]
    events = [event(f"{at}", "purchase", "u", item, at) for at, item, _ in cases]
    later = [answer("r3", "u", 30), answer("r4", "u", 50), answer("r5", "u", 50)]
    pages = [*page("r3", ["milk"]), *page("r4", ["egg"]), *page("r5", ["egg"])]
    found = log(*events, exposures=later, slots=pages)
    assert reasons(found) == sorted((f"{at}", request, None) for at, _, request in cases if request)
    assert counted(found) == {}


def test_what_another_experiment_showed_last_is_not_ours():
    """The item was shown again by an answer in no experiment: that one led to the purchase."""
    later = answer("r3", "u", 30, arm=None, experiment=None)
    found = log(
        event("e", "purchase", "u", "milk", 40), event("f", "click", "u", "milk", 40, "r3"),
        exposures=[later], slots=page("r3", ["milk"]),
    )  # fmt: skip
    assert reasons(found) == []
    assert counted(found) == {}


def test_an_event_told_twice_counts_once():
    """The first telling stands, whether it names its answer or not."""
    found = log(
        *[event("e", "click", "u", "milk", minutes, "r1") for minutes in (5, 5, 6)],
        *[event("f", "purchase", "v", "tea", minutes) for minutes in (5, 6)],
    )
    assert counted(found) == {why.TWICE: 3}
    assert [row for row in reasons(found) if row[2] is None] == [("e", "r1", None), ("f", "r2", None)]


def test_an_answer_logged_twice_counts_once():
    """The earliest row stands."""
    exposures, *rest = log(exposures=[answer("r1", "u", 3, latency_ms=99.0)])
    assert counted((exposures, *rest)) == {why.ANSWER_TWICE: 1}
    rows = {row["request_id"]: row for row in rows_of(answers_of(exposures, experiment()))}
    assert (len(rows), rows["r1"]["shown_at"], rows["r1"]["latency_ms"]) == (2, at(0), 20.0)


def test_a_testers_answers_and_their_outcomes_are_left_out():
    """Forced answers are counted, and make nobody a user of two arms."""
    found = log(
        event("e", "click", "u", "milk", 31, "r3"), event("f", "purchase", "u", "milk", 31),
        exposures=[answer("r3", "u", 30, "b", forced=True)], slots=page("r3", ["milk"]),
    )  # fmt: skip
    assert counted(found) == {why.FORCED: 1, why.LEFT_OUT: 2}
    assert {
        row["request_id"] for row in rows_of(answers_of(found[0], found[3]).filter(~ibis._.left_out))
    } == {
        "r1",
        "r2",
    }


def test_what_is_not_known_to_be_forced_is_not():
    """A log that says nothing of it leaves nothing out."""
    found = log(exposures=[answer("r3", "u", 30, forced=None)])
    assert counted(found) == {}
    assert [row["left_out"] for row in rows_of(answers_of(found[0], found[3]))] == [False] * 3


def test_who_crosses_from_arm_to_arm_is_left_out():
    """All of their answers, also those before they crossed, and what came of them."""
    found = log(event("e", "click", "u", "milk", 1, "r1"), exposures=[answer("r3", "u", 30, "b")])
    assert counted(found) == {why.CROSSED: 1, why.LEFT_OUT: 1}


def test_strangers_are_counted_only_while_the_experiment_is_on():
    """Outcomes of unknown answers before the start, or after the end and the window, are not its own."""
    exposures, slots, events, __ = log(
        *[
            event(f"e{minutes}", "click", "u", "milk", minutes, "r9")
            for minutes in (-2, 0, 60 + DAY, 62 + DAY)
        ]
    )
    short = experiment(end=at(60))
    assert counted((exposures, slots, events, short)) == {why.UNKNOWN: 2}
    assert counted((exposures, slots, events, experiment())) == {why.UNKNOWN: 3}


def test_other_events_are_no_outcomes():
    """Impressions and items put into a cart are neither credited nor refused."""
    found = log(*[event(kind, kind, "u", "jam", 1, "r1") for kind in ("impression", "add_to_cart")])
    assert reasons(found) == []
    assert counted(found) == {}


@pytest.mark.parametrize("seed", range(4))
def test_any_log_is_judged_as_by_loops(seed):
    """On logs in which all goes wrong, counts by reason and credited events are those of plain loops."""
    rows, short = random_log(seed), experiment(end=at(2900))
    expected, found = Loops(rows, short), tables(**rows)
    args = (found["exposures"], found["slots"], found["events"], short)
    assert counted(args) == {reason: n for reason, n in expected.counts.items() if n}
    if seed == 0:
        assert set(counted(args)) == {*why.OUTCOME_REASONS, why.ANSWER_TWICE, why.FORCED, why.CROSSED}
    credited = sorted(
        (row["event_id"], row["request_id"]) for row in rows_of(judged(*args)) if not row["reason"]
    )
    assert credited == sorted(
        (row["event_id"], request) for (request, _), found in expected.credited.items() for row in found
    )


def test_it_compiles_for_bigquery():
    """The query is BigQuery's SQL, without a function that only another engine has."""
    log = unbound()
    args = (log["exposures"], log["slots"], log["events"], experiment(end=at(60)))
    for expression in (judged(*args), rejected(*args)):
        parsed = sqlglot.parse_one(ibis.to_sql(expression, dialect="bigquery"), read="bigquery")
        assert [node.name for node in parsed.find_all(sqlglot.exp.Anonymous)] == []


def test_what_others_do_concerns_nobody():
    """An outcome that names an unknown answer counts for users of the experiment alone."""
    found = log(*[event(f"{user}", "click", user, "milk", 5, "r9") for user in ("u", "v", "w", "x")])
    assert reasons(found) == [("u", "r9", why.UNKNOWN), ("v", "r9", why.UNKNOWN)]
