"""Publishing: an evaluated release enters the model store with its figures, and becomes the current one."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import served_shop
from tiny_release import ITEM_FEATURES, N_ITEMS, USER_FEATURES, tiny_release

from bentos.current_release import current_tag, open_current, set_current
from bentos.release import MODEL_NAME, ReleaseError, load, save, store_release, stored_model
from bentos.scoring import matrix_columns
from feature_repo.settings import Settings
from jobs import publish
from jobs.train import release_folder

# Importing BentoML 1.4 with pathspec 1.1 warns of a name that BentoML uses.
CUT = 45
FIGURES = [
    {"report": "quality", "metric": "recall@10", "value": 0.1, "cut": cut, "task": task}
    for cut in (CUT, 49)
    for task in ("all", "discover")
]


@pytest.fixture(scope="module")
def trained():
    """What training leaves: a release with real rankers, and its cut."""
    width, rng = len(matrix_columns(USER_FEATURES, ITEM_FEATURES)), np.random.default_rng(4)
    tiny = tiny_release()
    rankers = {task: served_shop.random_ranker(rng, width) for task in ("all", "discover")}
    manifest = {**tiny.manifest, "cut": CUT, "recorded": None}
    return replace(tiny, rankers=rankers, manifest=manifest)


@pytest.fixture
def settings(trained, tmp_path):
    """An installation that is ready to publish cut 45; its models are deleted after the test."""
    import bentoml

    before = {model.tag for model in bentoml.models.list()}
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    save(trained, release_folder(settings, CUT))
    for path, facts in (
        (settings.state / "tables" / "ingest.json", {"source": "complete_journey", "recorded": True}),
        (settings.reports / "quality.json", FIGURES),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(facts))
    yield settings
    for model in bentoml.models.list():
        if model.tag not in before:
            bentoml.models.delete(model.tag)


def test_published_release_is_the_trained_one_with_its_figures(settings, trained):
    """The current release has the trained arrays, this cut's figures, and what the data is."""
    result = publish.run(settings, CUT)
    release = open_current(settings)
    assert release.tag == current_tag(settings) == result.where
    assert (result.rows, result.unit, result.detail) == (N_ITEMS, "items", f"current -> {release.tag}")
    assert release.manifest["metrics"] == FIGURES[:2]
    assert (release.manifest["source"], release.manifest["recorded"]) == ("complete_journey", True)
    assert release.manifest["cut"] == CUT
    assert release.manifest["revision"] == publish.code_revision()
    for name, array in trained.arrays.items():
        np.testing.assert_array_equal(release.arrays[name], array)


def test_labels_tell_time_and_revision(settings):
    """`bentoml models list` can show as of when a release is and which code made it."""
    labels = stored_model(publish.run(settings, CUT).where).info.labels
    assert labels == {"as_of": "2024-03-04", "revision": publish.code_revision()}


def test_publishing_again_keeps_the_release_before(settings):
    """Each time is a new entry; the one before can still be made current."""
    first, second = publish.run(settings, CUT).where, publish.run(settings, CUT).where
    assert first != second
    assert current_tag(settings) == second
    set_current(settings, first)
    assert open_current(settings).tag == first


def test_trained_release_is_not_touched(settings):
    """What training left stays as it was, to be published again."""
    folder = release_folder(settings, CUT)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    publish.run(settings, CUT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "metrics" not in load(folder).manifest


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("training/cut-45/release", "No trained release in .*run `endcap train --cut 45`"),
        ("tables/ingest.json", "No tables in .*run `endcap ingest`"),
        ("../reports/quality.json", "No figures of cut 45 in .*run `endcap evaluate --cut 45`"),
    ],
)
def test_missing_step_is_named(settings, lost, message):
    """Without what an earlier step leaves, the error names that step, and nothing becomes current."""
    path = settings.state / lost
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError, match=message):
        publish.run(settings, CUT)
    assert not settings.current_release.exists()


def test_figures_of_another_cut_do_not_count(settings):
    """A release is published with figures of its own, or not at all."""
    (settings.reports / "quality.json").write_text(json.dumps(FIGURES[2:]))
    with pytest.raises(FileNotFoundError, match="No figures of cut 45"):
        publish.run(settings, CUT)


@pytest.mark.parametrize("crash_at", ["store_release", "set_current"])
def test_crash_leaves_the_old_release_current(settings, monkeypatch, crash_at):
    """Whether it dies before or after the release is stored, the one before is still served."""
    before = publish.run(settings, CUT).where

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish, crash_at, crash)
        with pytest.raises(KeyboardInterrupt):
            publish.run(settings, CUT)
    assert open_current(settings).tag == before


def test_damaged_release_is_not_published(settings):
    """A file that was changed after training is found before anything is stored."""
    (release_folder(settings, CUT) / "rules.yaml").write_text("{}")
    with pytest.raises(ReleaseError, match=r"rules\.yaml is damaged"):
        publish.run(settings, CUT)
    assert not settings.current_release.exists()


def test_revision_outside_a_checkout_is_unknown(monkeypatch, tmp_path):
    """An installation without git history still publishes."""
    monkeypatch.setattr(publish, "__file__", str(tmp_path / "publish.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path(tmp_path).parent))
    assert publish.code_revision() == "unknown"


def stored_tags():
    """Tags of all releases in the tests' model store."""
    import bentoml

    return {str(model.tag) for model in bentoml.models.list() if model.tag.name == MODEL_NAME}


def test_each_stored_release_is_a_new_immutable_entry(settings, trained):
    """Storing twice makes two entries; the first stays what it was, and `current` decides which is opened."""
    folder = release_folder(settings, CUT)
    first = store_release(folder)
    set_current(settings, first)
    save(replace(trained, rules={"category_cap": {"share": 0.5}}), folder)
    second = store_release(folder)
    assert first != second
    assert {first, second} <= stored_tags()
    assert (open_current(settings).tag, open_current(settings).rules) == (first, trained.rules)
    set_current(settings, second)
    assert open_current(settings).rules == {"category_cap": {"share": 0.5}}
    assert current_tag(settings) == second


def test_damaged_release_is_not_stored(settings):
    """What does not verify does not enter the store."""
    before, folder = stored_tags(), release_folder(settings, CUT)
    (folder / "rules.yaml").write_text("{}")
    with pytest.raises(ReleaseError, match=r"rules\.yaml is damaged"):
        store_release(folder)
    assert stored_tags() == before


def test_crash_while_storing_leaves_no_entry(settings, monkeypatch):
    """A copy that breaks off half-way leaves no entry behind, and the old release current."""
    folder = release_folder(settings, CUT)
    set_current(settings, store_release(folder))
    before = stored_tags(), current_tag(settings)

    def broken(source, target, **_):
        shutil.copy(source / "rules.yaml", Path(target) / "rules.yaml")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("bentos.release.shutil.copytree", broken)
        with pytest.raises(OSError, match="disk full"):
            store_release(folder)
    assert (stored_tags(), current_tag(settings)) == before


def test_crash_before_the_rename_leaves_the_old_pointer(settings, monkeypatch):
    """`current` moves by the rename alone: without it, the old tag is still in use."""
    set_current(settings, "endcap-release:old")

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            set_current(settings, "endcap-release:new")
    assert current_tag(settings) == "endcap-release:old"


def test_reader_sees_one_tag_or_the_other(settings):
    """While `current` moves back and forth, a reader never sees half a tag or none."""
    tags = {"endcap-release:" + letter * 4_000 for letter in "ab"}
    set_current(settings, min(tags))
    done = threading.Event()

    def move():
        for _ in range(200):
            for tag in tags:
                set_current(settings, tag)
        done.set()

    writer = threading.Thread(target=move)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(current_tag(settings))
    writer.join()
    assert seen <= tags


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        (None, "No current release in .*current"),
        ("", "No current release in .*current"),
        ("endcap-release:gone", "endcap-release:gone is not in the model store"),
        ("no tag: at all", "no tag: at all is not in the model store"),
    ],
)
def test_missing_release_names_the_command(settings, pointer, message):
    """Without a pointer, with an empty one, or with one to nowhere, the error says what makes a release."""
    if pointer is not None:
        set_current(settings, pointer)
    with pytest.raises(ReleaseError, match=rf"{message}.*run `endcap publish`"):
        open_current(settings)
