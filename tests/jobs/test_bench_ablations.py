"""The bench of ablations: what is measured is not measured again, and the report is whole."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bentos.candidates import TASKS
from jobs.benches.ablations import AblationBench, columns_of, step_of, values_file
from jobs.result import Result
from jobs.verbs import Names
from training import per_shopper
from training.ablations.variants import variants
from training.per_shopper import COVERAGE
from training.quality_records import LIFTED
from training.ranking import Learning

CUT = 47


@pytest.fixture
def settings(installation, tmp_path):
    """The real slice with a training folder, markers and reports of its own."""
    state = tmp_path / "state"
    state.mkdir()
    for name in ("tables", "features", "registry.db"):
        (state / name).symlink_to(installation.state / name)
    shutil.copytree(installation.state / "steps", state / "steps")
    return replace(installation, state=state, reports=tmp_path / "reports")


class Quick(AblationBench):
    """A bench that draws values instead of training."""

    def measure(self, variant, sources, split):  # noqa: ARG002 - as the real one is called
        """Random values of 20 shoppers."""
        if variant.name == self.breaks_at:
            raise RuntimeError("out of paper")
        self.head(f"measured {variant.name}")
        rng = np.random.default_rng(len(variant.name))
        frames = [
            pd.DataFrame({"task": task, "model": variant.name, "user_id": [f"u{n}" for n in range(20)]})
            .assign(**{metric: rng.random(20) for metric in LIFTED}, **{COVERAGE: 0.5})
            for task in TASKS
        ]  # fmt: skip
        where = values_file(self.settings, split.cut, variant.name)
        per_shopper.write(pd.concat(frames), where)
        return Result("ablation", 40, "values", where)

    breaks_at = ""


def run(settings, *only, breaks_at=""):
    """Run a bench; the names that were measured, and what was said."""
    said, heads = [], []
    bench = Quick(settings, said.append, heads.append)
    bench.breaks_at = breaks_at
    try:
        bench.run(CUT, only)
    finally:
        measured = [line.removeprefix("measured ") for line in heads if line.startswith("measured ")]
        run.measured = measured
    return measured, said


def test_bench_goes_on_where_it_was(settings):
    """What was measured before a failure, or in an earlier run, is not measured again."""
    with pytest.raises(RuntimeError, match="out of paper"):
        run(settings, "no_lifts", "rank_ndcg", breaks_at="rank_ndcg")
    assert run.measured == ["stack", "no_lifts"]
    assert not (settings.reports / "ablations.json").exists()
    assert run(settings, "no_lifts", "rank_ndcg")[0] == ["rank_ndcg"]
    measured, said = run(settings, "rank_ndcg")
    assert measured == []
    assert "objective rank:ndcg" in said[0]
    records = json.loads((settings.reports / "ablations.json").read_text())
    assert {r["model"] for r in records} == {"stack", "rank_ndcg"}
    assert {r["cut"] for r in records} == {CUT}
    values_file(settings, CUT, "rank_ndcg").unlink()
    assert run(settings, "rank_ndcg")[0] == ["rank_ndcg"]


def test_a_changed_variant_is_measured_again(settings):
    """The same name with other parts is another variant."""
    run(settings, "unweighed")
    said, heads = [], []
    bench = Quick(settings, said.append, heads.append)
    from jobs.benches.cut_steps import CutSteps

    found = next(v for v in variants([]) if v.name == "unweighed")
    steps = CutSteps(settings, CUT, ())
    bench.step(steps, found, "the same", None, None)
    assert heads == ["the same: done before"]
    with pytest.raises(AttributeError):  # it goes on to measure, for which there is nothing here
        bench.step(steps, replace(found, learning=Learning(rounds=7)), "another", None, None)


def test_unknown_variants_are_refused_before_any_work(settings):
    """A name that there is not is told with those that there are."""
    with pytest.raises(ValueError, match=r"no variant 'luck'; use stack, no_"):
        run(settings, "luck")
    assert run.measured == []
    assert Names().convert("no_lifts, rank_ndcg", None, None) == ("no_lifts", "rank_ndcg")
    assert Names().convert("", None, None) == ()


def test_columns_are_those_of_the_registry(settings):
    """Every variant's step has a name of its own, and what it leaves out is a column that there is."""
    from feature_repo.store import open_store
    from training.fit import Sources

    columns = columns_of(Sources.open(settings, open_store(settings)))
    found = variants(columns)
    assert len({step_of(variant).name for variant in found}) == len(found)
    assert {"item_age_days", "user_tenure_days", "pair_count"} <= set(columns)
