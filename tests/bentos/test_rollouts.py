"""Where rollouts stand: written whole, read back, laid over the experiments, and refused in one line."""

import json
import os
from datetime import UTC, datetime

import pytest

from bentos.experiments import ExperimentError, Experiments, RolloutPlan
from bentos.rollouts import Rollout, load_rollouts, rolled_out, save_rollouts


@pytest.fixture
def path(tmp_path):
    """Where the file lies."""
    return tmp_path / "rollouts.json"


@pytest.fixture
def experiments():
    """Two experiments, one of them settled."""
    each = {
        "layer": "page",
        "start": datetime(2018, 1, 1, tzinfo=UTC),
        "control": "old",
        "primary": "ctr",
        "arms": {"old": {"share": 0.5}, "new": {"share": 0.5}},
    }
    halves = {"engine": {"slice": (0, 0.5)}, "boost": {"slice": (0.5, 1), "settled": "new"}}
    named = {name: {**each, **more} for name, more in halves.items()}
    return Experiments.model_validate({"layers": {"page": {}}, "experiments": named})


def test_what_is_written_is_read_back(path):
    """Nothing else stays in the folder, and what was there before is replaced."""
    assert load_rollouts(path) == {}
    for rollouts in [{"engine": Rollout(ramp=0.05)}, {"boost": Rollout(ramp=1, settled="new")}, {}]:
        save_rollouts(path, rollouts)
        assert load_rollouts(path) == rollouts
        assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names alone
    save_rollouts(path, {"engine": Rollout(ramp=0.05)})
    assert json.loads(path.read_text()) == {"engine": {"ramp": 0.05, "settled": None}}


def test_a_write_that_fails_leaves_what_was_there(path, monkeypatch):
    """The file is whole at any time: a full disk shows before the rename."""
    save_rollouts(path, {"engine": Rollout(ramp=0.05)})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_rollouts(path, {"engine": Rollout(ramp=0.25)})
    assert load_rollouts(path) == {"engine": Rollout(ramp=0.05)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 99_999, "Invalid JSON"),
        (b"[]", "Input should be"),
        (b"null", "Input should be"),
        (b'{"engine": 0.05}', "engine is 0.05: use a mapping of ramp, settled"),
        (b'{"engine": {}}', "engine.ramp: Field required"),
        (b'{"engine": {"ramp": "half"}}', "engine.ramp is 'half': Input should be a valid number"),
        (b'{"engine": {"ramp": true}}', "engine.ramp is True: Input should be a valid number"),
        (b'{"engine": {"ramp": NaN}}', "engine.ramp is nan: Input should be a finite number"),
        (b'{"engine": {"ramp": 5}}', "engine.ramp is 5: Input should be less than or equal to 1"),
        (b'{"engine": {"ramp": 1, "speed": 2}}', "engine: 'speed' is unknown; use ramp, settled"),
        (b'{"Engine!\\n": {"ramp": 1}}', r"'Engine!\n' is 'Engine!\n': String should match pattern"),
        (b'{"engine": {"ramp": 1, "settled": "' + b"x" * 99_999 + b'"}}', "engine.settled is 'xxx"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_broken_file_is_refused_in_one_line(path, content, says):
    """Which file, where, what stands there, and how to get a new one."""
    path.write_bytes(content)
    with pytest.raises(ExperimentError) as refused:
        load_rollouts(path)
    said = str(refused.value)
    assert said.startswith(f"{path} cannot be used (")
    assert said.endswith("); move it away, and `endcap rollout` writes it again")
    assert says in said
    assert said.isprintable()
    assert len(said) < len(str(path)) + 350


def test_a_folder_in_its_place_is_not_a_file_that_is_gone(path):
    """Else all rollouts would be back at what the experiments' file says."""
    path.mkdir()
    with pytest.raises(ExperimentError, match=r"cannot be used \(Is a directory\); move it away"):
        load_rollouts(path)


def test_rollouts_stand_over_the_experiments(experiments):
    """Ramp and settled arm are the rollout's, also where it has none; all else stays as it is."""
    found = rolled_out(
        experiments, {"engine": Rollout(ramp=0.05, settled="old"), "boost": Rollout(ramp=0.25)}
    )
    engine, boost = found.named("engine"), found.named("boost")
    assert (engine.ramp, engine.settled) == (0.05, "old")
    assert (boost.ramp, boost.settled) == (0.25, None)
    assert engine.model_copy(update={"ramp": 1.0, "settled": None}) == experiments.named("engine")
    assert rolled_out(experiments, {}) == experiments
    assert experiments.named("boost").settled == "new"


def test_before_its_rollout_begins_an_experiment_has_nobody(experiments):
    """One that is to be rolled out, unless it was settled by hand; its ramp then is the rollout's."""
    engine, boost = (
        each.model_copy(update={"rollout": RolloutPlan()}) for each in experiments.experiments.values()
    )
    planned = experiments.model_copy(update={"experiments": {"engine": engine, "boost": boost}})
    before = rolled_out(planned, {})
    assert (before.named("engine").ramp, before.named("boost")) == (0.0, boost)
    assert rolled_out(planned, {"engine": Rollout(ramp=0.02)}).named("engine").ramp == 0.02


def test_a_rollout_of_an_experiment_that_is_gone_says_nothing(experiments):
    """Experiments are taken out of the file while their rollouts stay."""
    assert rolled_out(experiments, {"gone": Rollout(ramp=0.5, settled="arm")}) == experiments


def test_an_arm_that_is_not_there_cannot_be_settled_for(experiments):
    """The line says which there are and what to do."""
    says = r"engine has settled for 'older', which is none of its arms \(old, new\); give the exp"
    with pytest.raises(ExperimentError, match=says):
        rolled_out(experiments, {"engine": Rollout(ramp=1, settled="older")})
