"""`endcap experiment check`: what a file means, or in one line what a service would refuse of it."""

from types import SimpleNamespace

import bentoml
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_release import ITEM_FEATURES, tiny_release

from bentos import start_checks
from bentos.release import ReleaseError
from feature_repo.settings import Settings
from jobs.cli import endcap
from jobs.experiments import check

TEXT = """
layers: {page: {holdout: 0.05}, shelf: {}}
experiments:
  engine:
    layer: page
    start: 2024-01-01T00:00:00Z
    end: 2024-02-01T00:00:00Z
    ramp: 0.2
    slice: [0.25, 0.75]
    control: old
    primary: ctr
    arms:
      old: {share: 0.3, legacy: segment}
      ruled: {share: 0.3, rules: boost.yaml}
      other: {share: 0.2, release: "endcap-release:two", explore: {slots: 2, temperature: 0.5}}
      new: {share: 0.2}
  shelf:
    {layer: shelf, start: 2024-03-01T00:00:00Z, control: a, primary: conversion, settled: b,
     arms: {a: {share: 0.5}, b: {share: 0.5, legacy: buy_again}}}
"""


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Folders of two releases by tag, with their catalogues; the second has another department."""
    folder, catalogue = tmp_path_factory.mktemp("releases"), tiny_release().catalogue
    names = catalogue.department_names.tolist()
    found = {}
    for tag, departments in {"one": names, "two": [name.replace("south", "west") for name in names]}.items():
        found[f"endcap-release:{tag}"] = folder / tag
        (folder / tag).mkdir()
        columns = {**vars(catalogue), "department_names": np.array(departments)}
        np.savez(folder / tag / "catalogue.npz", **columns)
    return found


@pytest.fixture
def settings(tmp_path, monkeypatch, releases):
    """Settings over experiments and the rules of one, in an installation with two releases."""

    def stored(tag):
        if tag not in releases:
            raise ReleaseError(f"{tag} is not in the model store; run `endcap publish`")
        return SimpleNamespace(path=releases[tag], tag=tag)

    monkeypatch.setattr(start_checks, "read_manifest", lambda _: {"features": {"item": ITEM_FEATURES}})
    for module in (check, start_checks):
        monkeypatch.setattr(module, "stored_model", stored)
    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path))
    settings = Settings(state=tmp_path, reports=tmp_path)
    settings.current_release.write_text("endcap-release:one\n")
    settings.experiments_file.write_text(TEXT)
    (tmp_path / "boost.yaml").write_text("blocked: {item_ids: [i01]}\n")
    return settings


def call(*words):
    """Exit code and output of the verb."""
    answer = CliRunner().invoke(endcap, ["experiment", "check", *map(str, words)])
    return answer.exit_code, answer.output


def test_each_experiment_is_a_line_and_each_arm(settings):
    """What it does, on whom, from when to when, by what it is judged; and of which release it is valid."""
    span = "from 2024-01-01T00:00:00+00:00 until 2024-02-01T00:00:00+00:00"
    assert call() == (
        0,
        f"""\
engine: layer page, slice 0.25 to 0.75, ramp 20%, {span}, by ctr
    old               30.0%  legacy rule segment
    ruled             30.0%  rules of boost.yaml
    other             20.0%  release endcap-release:two, explores the last 2 slots at 0.5
    new               20.0%  as without the experiment
shelf: layer shelf, slice 0 to 1, settled: all get b, from 2024-03-01T00:00:00+00:00, by conversion
    a                 50.0%  as without the experiment
    b                 50.0%  legacy rule buy_again
{settings.experiments_file} is valid for endcap-release:one
""",
    )


def test_a_rollout_says_how_far_it_is(settings):
    """What stands over the file is told, not what it stands over."""
    settings.rollouts_file.write_text('{"engine": {"ramp": 0.05}, "shelf": {"ramp": 1, "settled": "a"}}')
    heads = [line for line in call()[1].splitlines() if not line.startswith(" ")]
    assert "ramp 5%" in heads[0]
    assert "settled: all get a" in heads[1]


def test_a_file_elsewhere_has_its_rules_beside_it(settings, tmp_path):
    """A draft and its rule files are checked where they lie, against the installation."""
    draft = tmp_path / "drafts"
    draft.mkdir()
    settings.experiments_file.rename(draft / "next.yaml")
    (tmp_path / "boost.yaml").rename(draft / "boost.yaml")
    code, said = call(draft / "next.yaml")
    assert (code, said.splitlines()[-1]) == (0, f"{draft / 'next.yaml'} is valid for endcap-release:one")


def test_without_a_release_files_are_checked_alone(settings, tmp_path):
    """It says so; a rule file that is none is refused all the same."""
    settings.current_release.unlink()
    code, said = call()
    assert code == 0
    assert "experiments.yaml is valid; it was held against no release (No current release in" in said
    (tmp_path / "boost.yaml").write_text("blocked: {item_ids: 7}\n")
    assert call()[0] == 2


@pytest.mark.usefixtures("settings")
def test_rules_that_name_what_is_not_there_are_warned_of(tmp_path):
    """Once, though two releases lack it."""
    (tmp_path / "boost.yaml").write_text("blocked: {item_ids: [i01, 7]}\n")
    code, said = call()
    assert code == 0
    assert said.count("warning: ") == 1
    assert "warning: boost.yaml: blocked.item_ids has 1 of 2 not in the release\n" in said


BAD = {
    "no file": (None, None, "experiments.yaml is not there; copy bentos/experiments.yaml to it"),
    "shares": (TEXT.replace("0.3, legacy", "0.4, legacy"), None, "engine: the arms' shares add up to 1.1"),
    "release": (TEXT.replace(":two", ":three"), None, "release 'endcap-release:three': endcap-release:th"),
    "no rules": (TEXT.replace("boost", "bust"), None, "experiments.yaml: rules 'bust.yaml': "),
    "rules": (TEXT, "blocked: {item_ids: 7}\n", "rules 'boost.yaml': blocked.item_ids is 7"),
    "department": (TEXT, "blocked: {departments: [east]}\n", "'boost.yaml': blocked.departments has 'east'"),
    "of one release": (TEXT, "blocked: {departments: [south]}\n", "blocked.departments has 'south'; use"),
}


@pytest.mark.parametrize(("text", "rules", "says"), BAD.values(), ids=BAD)
def test_what_a_service_would_refuse_is_refused(settings, tmp_path, text, rules, says):
    """With exit code 2 and in the same line as at its start, where no file means no experiments."""
    settings.experiments_file.write_text(text) if text else settings.experiments_file.unlink()
    if rules:
        (tmp_path / "boost.yaml").write_text(rules)
    code, said = call()
    assert code == 2
    assert says in said
    assert said.count("\n") == 1
    if text is None:
        assert start_checks.release_tag(settings) == "endcap-release:one"
        return
    with pytest.raises(bentoml.exceptions.BentoMLException) as error:
        start_checks.release_tag(settings)
    assert said == f"Error: {error.value}\n"


def test_a_rollout_that_cannot_be_used_is_refused(settings):
    """An arm that the experiment does not have any more."""
    settings.rollouts_file.write_text('{"engine": {"ramp": 1, "settled": "gone"}}')
    code, said = call()
    assert code == 2
    assert said.startswith("Error: the rollout of engine has settled for 'gone', which is none of its arms")
