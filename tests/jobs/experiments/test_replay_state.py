"""A replay has a folder of its own, as the installation was when it began, or says why it cannot have one."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_service import EXPERIMENTS, RELEASED, CutOff, Stage, exposures, installation

from bentos.arms import experiments_in_force
from bentos.experiments import ExperimentError
from bentos.release import ReleaseError
from jobs.experiments import replay_state
from jobs.experiments.replay_state import ReplayError, played_from, prepare

RULED = EXPERIMENTS.replace("new: {share: 0.5}", "new: {share: 0.5, rules: more/new.yaml}")


@pytest.fixture
def settings(tmp_path):
    """An installation with a recording and an experiment, one of whose arms has a rule file."""
    settings = installation(tmp_path, RULED)
    (settings.state / "more").mkdir()
    (settings.state / "more/new.yaml").write_text("blocked: {item_ids: [i1]}\n")
    for name in ("registry.db", "online_store.db", "events.db", "exposures.db"):
        (settings.state / name).write_text(f"the shop's own {name}")
    return settings


@pytest.fixture
def stage(settings, monkeypatch):
    """Its replays, over fake services."""
    return Stage(settings, monkeypatch)


def files(settings):
    """Contents of the installation's own files by name."""
    every = [path for path in settings.state.rglob("*") if path.is_file() and "replays" not in path.parts]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in every}


def test_a_replay_has_files_of_its_own(stage, settings):
    """What it reads is as the installation's, what it writes is not: that stays as it was to the byte."""
    before = files(settings)
    own = prepare(settings, "engine", restart=False)
    assert own.state == settings.state / "replays" / "engine"
    for name in ("current", "experiments.yaml", "more/new.yaml", "registry.db"):
        assert (own.state / name).read_bytes() == (settings.state / name).read_bytes()
        assert not (own.state / name).is_symlink()
    assert own.table("transactions").samefile(settings.table("transactions"))
    assert not own.event_log.exists()
    assert not own.exposure_log.exists()
    stage.play()
    assert len(exposures(own)) > 30
    assert files(settings) == before


def test_a_replay_has_the_embedded_store(stage, settings):
    """Whatever the installation's own is."""
    (settings.state / "redis.yaml").write_text("project: endcap\nonline_store: {type: redis}\n")
    shared = replace(settings, feature_store=settings.state / "redis.yaml", profile="gcp")
    own = prepare(shared, "engine", restart=False)
    assert (own.profile, own.feature_store.name) == ("embedded", "feature_store.yaml")
    assert stage.materialized == [RELEASED]


@pytest.mark.parametrize("name", ["experiments.yaml", "more/new.yaml", "current"])
def test_what_has_changed_since_is_named(stage, settings, name):
    """A replay does not go on under another experiment, rule file or release; it can be begun anew."""
    stage.play(most=3)
    path = settings.state / name
    path.write_text(path.read_text().replace("i1", "i2").replace("0.2", "0.3").replace("one", "two"))
    says = f"{name} has changed since the replay of engine began; give --restart to play all again"
    with pytest.raises(ReplayError, match=says):
        stage.play()
    assert stage.play(most=3, restart=True).rows == 3
    assert (settings.state / "replays/engine" / name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, r"experiments\.yaml is not there; copy bentos/experiments\.yaml to it"),
        (EXPERIMENTS.replace("engine:", "pages:"), "There is no experiment 'engine'; use pages"),
        (EXPERIMENTS.replace("0.5", "0.4"), r"experiments\.yaml: experiments\.engine: .*add up to 0\.8"),
        (RULED.replace("more/", ""), r"experiments\.yaml: rules 'new\.yaml': "),
        (RULED.replace("more/new", "../new"), r"rules '\.\./new\.yaml' lie outside .*/state; a replay takes"),
    ],
    ids=["none", "another", "wrong", "no rules", "rules elsewhere"],
)
@pytest.mark.parametrize("restart", [False, True])
def test_experiments_that_cannot_be_replayed_are_told(stage, settings, text, says, restart):
    """In one line, and what was played stays, also where it was to be played again."""
    stage.play(most=3)
    before = stage.service
    (settings.state.parent / "new.yaml").write_text("blocked: {item_ids: [i1]}\n")
    settings.experiments_file.write_text(text) if text else settings.experiments_file.unlink()
    with pytest.raises((ExperimentError, ReplayError), match=says) as error:
        stage.play(restart=restart)
    assert "\n" not in str(error.value)
    assert stage.service is before
    settings.experiments_file.write_text(RULED)
    assert stage.play(most=3).rows == 0


def test_only_a_recording_can_be_replayed(settings, monkeypatch):
    """A release's weeks end when it says; that of a shop that goes on has none after it, and none is none."""
    monkeypatch.setattr(replay_state, "stored_model", lambda _: SimpleNamespace(path="there"))
    manifest = {"recorded": True, "as_of": "2024-01-08T05:00:00+00:00"}
    monkeypatch.setattr(replay_state, "read_manifest", {Path("there"): manifest}.get)
    assert played_from(settings).isoformat() == manifest["as_of"]
    manifest["recorded"] = False
    with pytest.raises(ReplayError, match="a shop that goes on; only a recording can be replayed"):
        played_from(settings)
    settings.current_release.unlink()
    with pytest.raises(ReleaseError, match=r"No current release in .*; run `endcap publish`"):
        prepare(settings, "engine", restart=False)


def test_what_is_to_be_rolled_out_is_replayed_on_all(stage, settings):
    """Nobody would see it otherwise: its rollout in the shop has not begun, or has come to its first step."""
    text = EXPERIMENTS.replace("new: {share: 0.5}}", "new: {share: 0.5}}, ramp: 0.75, rollout: {}")
    settings.experiments_file.write_text(text)
    settings.rollouts_file.write_text('{"engine": {"ramp": 0.01}}')
    own = prepare(settings, "engine", restart=False)
    in_force = experiments_in_force(own).experiments["engine"]
    assert (in_force.ramp, in_force.settled) == (0.75, None)
    stage.play()
    assert sum(told["arms"] != {} for *_, told in exposures(own)) > 10


def test_a_replay_that_was_cut_off_at_its_beginning_begins_anew(stage, settings, monkeypatch):
    """While its store was filled, or while what was played before was taken away: nothing of it stays."""

    def cut_off(*_):
        raise CutOff

    folder = settings.state / "replays"
    (folder / ".engine-abcdefgh" / "engine").mkdir(parents=True)
    assert stage.play(most=3).rows == 3
    with monkeypatch.context() as patch:
        patch.setattr(replay_state.shutil, "rmtree", cut_off)
        assert stage.play(restart=True) is None
    assert stage.play(most=4).rows == 4
    assert sorted(path.name for path in folder.iterdir()) == ["engine", "pipeline.lock"]
