"""What releases are to an installation, and which of them are deleted."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import bentoml
import pytest

from bentos.current_release import set_current
from bentos.release import ReleaseError
from feature_repo.settings import Settings
from jobs.releases import marked, prune, stored, table

EXPERIMENTS = """
layers: {page: {}}
experiments:
  engine: {layer: page, control: a, primary: ctr, start: 2024-01-01T00:00:00Z,
           arms: {a: {share: 0.5}, b: {share: 0.5, release: "r:2"}}}
"""


@dataclass
class Model:
    """A model of a store that is none."""

    tag: str
    creation_time: datetime
    path: str


@pytest.fixture
def deleted(monkeypatch, tmp_path):
    """Tags that were deleted from a store of r:0 to r:7."""
    models = [
        Model(f"r:{n}", datetime(2024, 1, 1, tzinfo=UTC) + timedelta(n), str(tmp_path)) for n in range(8)
    ]
    found: list[str] = []
    store = import_module("bentoml.models")
    monkeypatch.setattr(store, "list", lambda _: models)
    monkeypatch.setattr(store, "delete", found.append)
    monkeypatch.setattr("jobs.releases.read_manifest", lambda _: {"as_of": "2024-01-01"})
    return found


@pytest.fixture
def settings(tmp_path):
    """An installation with an experiment whose arm names r:2."""
    (tmp_path / "experiments.yaml").write_text(EXPERIMENTS)
    return Settings(state=Path(tmp_path), reports=Path(tmp_path))


def test_old_releases_are_deleted_but_for_those_in_use(deleted, settings):
    """The current one, that before it and an arm's stay, however old."""
    for tag in ("r:0", "r:3", "r:4"):
        set_current(settings, tag)
    assert marked(settings) == {"r:4": ("current",), "r:3": ("fallback",), "r:2": ("in an experiment",)}
    assert prune(settings, 2) == ["r:5", "r:1", "r:0"]
    assert deleted == ["r:5", "r:1", "r:0"]


@pytest.mark.usefixtures("deleted")
def test_a_replayed_release_stays(settings):
    """A replay goes on with the release that it began with."""
    path = settings.state / "replays" / "engine" / "current"
    path.parent.mkdir(parents=True)
    path.write_text("r:1\n")
    assert marked(settings)["r:1"] == ("replayed as engine",)
    assert prune(settings, 2) == ["r:5", "r:4", "r:3", "r:0"]


@pytest.mark.usefixtures("deleted")
def test_a_damaged_release_is_deleted_when_it_is_old(settings, monkeypatch):
    """It cannot serve, so nothing but being current keeps it."""

    def damaged(_):
        raise ReleaseError("damaged")

    monkeypatch.setattr("jobs.releases.read_manifest", damaged)
    set_current(settings, "r:0")
    assert prune(settings, 5) == ["r:1"]
    assert [each.tag for each in stored(settings) if "cannot be read" in each.marks] == [
        f"r:{n}" for n in range(7, -1, -1)
    ]


def test_an_arms_release_stays_where_none_is_current(deleted, settings):
    """As on a machine whose pointer was lost."""
    assert prune(settings, 7) == ["r:0"]
    assert prune(settings, 1) == [f"r:{n}" for n in (6, 5, 4, 3, 1, 0)]
    assert "r:2" not in deleted


def test_an_empty_store_has_no_releases(monkeypatch, settings):
    """BentoML knows no such model then; one is told what to do."""

    def none(_):
        raise bentoml.exceptions.NotFound("no Models with name 'endcap-release' found")

    monkeypatch.setattr(import_module("bentoml.models"), "list", none)
    assert stored(settings) == []
    assert table(stored(settings)) == "There is no release in the model store; run `endcap publish`"
