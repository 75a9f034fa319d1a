"""Who gets which arm: shares as the file says, by chance alone, for ever, on any machine."""

import doctest
import json
import subprocess
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from bentos import assignment as module
from bentos.assignment import arm_of, arms_in_force, assigned, place, place_in_layer
from bentos.experiments import Experiment, ExperimentError, Experiments

START, NOW, END = (datetime(2018, 1, day, tzinfo=UTC) for day in (1, 5, 9))
N = 1_000_000
ROOT = Path(__file__).resolve().parents[2]
COMMON = {"layer": "page", "start": START, "control": "old", "primary": "ctr"}
IN_ANOTHER_PROCESS = """
import json, sys
from datetime import UTC, datetime
from bentos.assignment import assigned
from bentos.experiments import load_experiments
from pathlib import Path
experiments, now = load_experiments(Path(sys.argv[1])), datetime(2018, 1, 5, tzinfo=UTC)
print(json.dumps([assigned(experiments, str(user), now).arms for user in range(500)]))
"""


def experiment(name="engine", shares=(0.5, 0.5), **more):
    """An experiment whose arms, old, new, new2, and so on, have some shares."""
    names = ["old", "new", *(f"new{n}" for n in range(2, len(shares)))]
    arms = {arm: {"share": share} for arm, share in zip(names, shares, strict=True)}
    return Experiment.model_validate({**COMMON, "name": name, "arms": arms, **more})


def experiments(*each, **holdouts):
    """A file with some experiments in the layers page and rules."""
    layers = {layer: {"holdout": holdouts.get(layer, 0.0)} for layer in ("page", "rules")}
    return Experiments(layers=layers, experiments={one.name: one for one in each})


def ids(kind, n):
    """Ids as shops have them."""
    if kind == "sequential":
        return [str(number) for number in range(1, n + 1)]
    if kind == "uuid":
        rng = np.random.default_rng(1)
        return [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]
    if kind == "unicode":
        return [f"客戶 {number} é" for number in range(n)]
    return [f"{number:08d}" for number in range(0, 10 * n, 10)]


def fits(counts, shares):
    """Whether counts are as shares want, but for what chance does in 999 of 1,000 cases (SRM test)."""
    counts = np.array(counts)
    return chisquare(counts, np.array(shares) * counts.sum()).pvalue > 0.001


def near(count, n, share):
    """Whether a count is within four standard errors of a share of n."""
    return abs(count - n * share) <= 4 * np.sqrt(n * share * (1 - share))


@pytest.fixture(scope="module")
def users():
    """20,000 users."""
    return ids("sequential", 20_000)


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_a_million_users_are_halved():
    """No sample ratio mismatch among a million ids that count up, nor among each tenth of them."""
    halved = experiment()
    new = np.array([arm_of(halved, user) == "new" for user in ids("sequential", N)])
    assert fits([N - new.sum(), new.sum()], [0.5, 0.5])
    assert abs(new.mean() - 0.5) < 0.002
    tenths = new.reshape(10, -1).sum(axis=1)
    assert chi2_contingency([tenths, N / 10 - tenths]).pvalue > 0.001


@pytest.mark.parametrize("kind", ["uuid", "unicode", "in tens"])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
def test_arms_have_their_shares(kind, shares):
    """Whatever ids look like, and however uneven shares are."""
    uneven, found = experiment(shares=shares), Counter()
    found.update(arm_of(uneven, user) for user in ids(kind, 30_000))
    assert fits([found[arm] for arm in uneven.arms], shares)


def test_an_arm_without_a_share_gets_nobody(users):
    """First, last or between: those with shares have everybody."""
    for shares in [(0, 1, 0), (1, 0, 0), (0, 0.5, 0.5)]:
        some = experiment(shares=shares)
        found = {arm_of(some, user) for user in users[:5_000]}
        assert found == {arm for arm, share in zip(some.arms, shares, strict=True) if share}


def test_shares_that_miss_one_by_rounding_leave_nobody_out(monkeypatch):
    """A user above their sum has the last arm that has a share."""
    rounded = experiment(shares=(0.3333333333, 0.6666666666, 0))
    monkeypatch.setattr(module, "place", lambda _salt, _user: 1 - 2**-53)
    assert arm_of(rounded, "u") == "new"


@pytest.mark.parametrize("salt", ["layer page", "experiment engine"])
def test_places_are_spread_evenly(users, salt):
    """In [0, 1), as many in each hundredth as chance allows."""
    places = np.array([place(salt, user) for user in users])
    assert places.min() >= 0
    assert places.max() < 1
    assert fits(np.histogram(places, np.linspace(0, 1, 101))[0], np.full(100, 0.01))


def test_a_place_is_the_same_on_any_platform():
    r"""As `printf 'layer page\0002375' | b2sum --length 64` has it, the upper 53 bits of 64."""
    digests = {
        ("layer page", "2375"): 0x91561CF6F5F1F481,
        ("experiment engine", "2375"): 0x91D85CE461C2D030,
        ("layer page", "Zoë 購物"): 0xC6F9F2F42D5DB8A7,
        ("experiment engine", "Zoë 購物"): 0x8303883FEA11C67C,
    }
    for (salt, user), digest in digests.items():
        assert place(salt, user) == (digest // 2**11) / 2**53
    assert arm_of(experiment(shares=(0.5, 0.5)), "2375") == "new"
    assert arm_of(experiment(shares=(0.6, 0.4)), "2375") == "old"


def test_salt_and_id_are_not_run_together():
    """Experiment `a` with user `b1` is another pair than experiment `ab` with user `1`."""
    assert place("experiment a", "b1") != place("experiment ab", "1")


def test_another_process_gives_the_same_arms(tmp_path):
    """Whatever its hash seed is."""
    path = tmp_path / "experiments.yaml"
    path.write_text(
        "layers: {page: {holdout: 0.1}}\nexperiments:\n  engine: {layer: page, start: 2018-01-01T00:00:00Z,"
        " ramp: 0.5, control: old, primary: ctr, arms: {old: {share: 0.5}, new: {share: 0.5}}}\n"
    )
    here = experiments(experiment(ramp=0.5), page=0.1)
    expected = [assigned(here, str(user), NOW).arms for user in range(500)]
    assert 150 < sum(map(len, expected)) < 300
    for seed in ("0", "1"):
        output = subprocess.check_output(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, str(path)], env={"PYTHONHASHSEED": seed}, cwd=ROOT
        )
        assert json.loads(output) == expected


def test_a_ramp_takes_more_and_moves_nobody(users):
    """From 1 to 100 %: as many as it says are in, and who was in stays in, with the same arm."""
    before = {}
    for ramp in (0.01, 0.05, 0.25, 0.5, 1.0):
        ramped = experiments(experiment(ramp=ramp, shares=(0.7, 0.3)))
        arms = {user: assigned(ramped, user, NOW).arms.get("engine") for user in users}
        inside = {user: arm for user, arm in arms.items() if arm}
        assert inside.items() >= before.items()
        assert near(len(inside), len(users), ramp)
        assert fits(np.unique(list(inside.values()), return_counts=True)[1][::-1], [0.7, 0.3])
        before = inside
    assert len(before) == len(users)
    nobody = experiments(experiment(ramp=0.0))
    assert not any(assigned(nobody, user, NOW).arms for user in users[:5_000])


def test_layers_are_independent(users):
    """Arms and places in one layer tell nothing of those in another, nor a place of the arm."""
    both = experiments(experiment(), experiment("boost", (0.3, 0.7), layer="rules"))
    arms = [assigned(both, user, NOW).arms for user in users]
    table = Counter((each["engine"], each["boost"]) for each in arms)
    assert chi2_contingency(np.reshape([table[key] for key in sorted(table)], (2, 2))).pvalue > 0.001
    tenths = [int(10 * place_in_layer(both, "page", user)) for user in users]
    table = Counter(zip(tenths, (each["engine"] for each in arms), strict=True))
    assert chi2_contingency(np.reshape([table[key] for key in sorted(table)], (10, 2))).pvalue > 0.001
    others = [int(10 * place_in_layer(both, "rules", user)) for user in users]
    table = Counter(zip(tenths, others, strict=True))
    assert chi2_contingency(np.reshape([table[key] for key in sorted(table)], (10, 10))).pvalue > 0.001


def test_experiments_of_a_layer_draw_anew(users):
    """After one experiment ended, the arms of the next do not follow its arms."""
    one, two = experiment("one"), experiment("two")
    table = Counter((arm_of(one, user), arm_of(two, user)) for user in users)
    assert chi2_contingency(np.reshape([table[key] for key in sorted(table)], (2, 2))).pvalue > 0.001


def test_the_holdout_is_in_no_experiment_of_its_layer(users):
    """As many as it says; in another layer they are as everybody else."""
    some = experiments(experiment(), experiment("boost", layer="rules"), page=0.05)
    found = [assigned(some, user, NOW) for user in users]
    held = [each for each in found if each.held_out]
    assert near(len(held), len(users), 0.05)
    assert all(each.held_out == ("page",) and each.arms.keys() == {"boost"} for each in held)
    assert all(each.arms.keys() == {"engine", "boost"} for each in found if not each.held_out)
    assert near(sum(each.arms["boost"] == "new" for each in held), len(held), 0.5)


def test_slices_part_the_users_of_a_layer(users):
    """Nobody is in two; each has its slice of those not held out, or as much of it as its ramp takes."""
    first = experiment("first", slice=(0.0, 0.3))
    second = experiment("second", slice=(0.3, 1.0), ramp=0.5)
    some = experiments(first, second, page=0.2)
    found = [assigned(some, user, NOW).arms for user in users]
    assert not [arms for arms in found if len(arms) > 1]
    assert near(sum("first" in arms for arms in found), len(users), 0.8 * 0.3)
    assert near(sum("second" in arms for arms in found), len(users), 0.8 * 0.7 * 0.5)


def test_nobody_is_in_before_the_start_or_from_the_end_on(users):
    """The first instant is in, the last is not; what is settled holds from the start on."""
    timed = experiments(experiment(end=END))
    settled = experiments(experiment(end=END, settled="new"))
    instants = (START - timedelta(microseconds=1), START, END - timedelta(microseconds=1), END)
    inside = [bool(assigned(timed, users[0], at).arms) for at in instants]
    decided = [dict(assigned(settled, users[0], at).settled) for at in (*instants[:2], END)]
    assert inside == [False, True, True, False]
    assert decided == [{}, {"engine": "new"}, {"engine": "new"}]


def test_what_is_settled_is_for_the_whole_slice(users):
    """All of it whatever the ramp was, but the holdout; it is an arm in force and no experiment any more."""
    some = experiments(experiment(settled="new", ramp=0.01, slice=(0.0, 0.5)), page=0.2)
    found = [assigned(some, user, NOW) for user in users]
    assert not any(each.arms for each in found)
    assert not any(each.settled for each in found if each.held_out)
    assert near(sum(bool(each.settled) for each in found), len(users), 0.8 * 0.5)
    decided = next(each for each in found if each.settled)
    (arm,) = arms_in_force(some, decided)
    assert arm is some.named("engine").arms["new"]


def test_a_tester_gets_the_arms_that_they_ask_for(users):
    """Also one who is not in, whom the holdout has, or whose arm is settled; the others stay as they are."""
    closed = experiment(ramp=0.0, end=START + timedelta(1))
    some = experiments(closed, experiment("boost", layer="rules"), page=0.5)
    for user in users[:50]:
        by_chance, found = assigned(some, user, NOW), assigned(some, user, NOW, {"engine": "new"})
        assert not by_chance.forced
        assert found.forced
        assert found.arms == {"engine": "new", **by_chance.arms}
    for some in (experiments(experiment(settled="old")), experiments(experiment())):
        for user in users[:20]:
            (found,) = arms_in_force(some, assigned(some, user, NOW, {"engine": "new"}))
            assert found is some.named("engine").arms["new"]


@pytest.mark.parametrize(
    ("forced", "says"),
    [
        ({"engin": "new"}, "There is no experiment 'engin'; use engine"),
        ({"engine": "newer"}, "engine has no arm 'newer'; use old, new"),
    ],
)
def test_a_forced_arm_that_is_not_there_is_refused(forced, says):
    """With those that are."""
    with pytest.raises(ExperimentError) as refused:
        assigned(experiments(experiment()), "u", NOW, forced)
    assert str(refused.value) == says
