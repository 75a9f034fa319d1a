"""Feast's own command line works on this repository, and means the same registry as `endcap apply`.

Importing Feast takes seconds: it runs twice, once from each folder, over the same state.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from feature_worlds import registry_content

ROOT = Path(__file__).resolve().parents[2]
VIEWS = ["item_coming_promotions", "item_stats", "item_text", "user_history", "user_stats"]
FEAST = Path(sys.executable).with_name("feast")


def feast(state, *arguments, folder):
    """Output of `feast ...` in a folder with the state folder elsewhere."""
    environ = {**os.environ, "ENDCAP_STATE": str(state)}
    command = [str(FEAST), *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """(state folder, output, contents of the registry) after `cd feature_repo && feast apply`."""
    state = tmp_path_factory.mktemp("state")
    output = feast(state, "apply", folder=ROOT / "feature_repo")
    return state, output, registry_content(state / "registry.db", times=True)


def test_feast_apply_in_feature_repo(applied):
    """Every view is registered once, and all that is written lies in the state folder."""
    state, output, content = applied
    assert "Applying changes for project endcap" in output
    names = [view["spec"]["name"] for view in content["featureViews"]]
    assert names == VIEWS
    assert sorted(path.name for path in state.iterdir()) == ["online_store.db", "registry.db"]
    assert not list((ROOT / "feature_repo").rglob("*.db"))


def test_the_registry_holds_no_path_of_this_machine(applied):
    """Sources are named relative to the state folder."""
    paths = [source["fileOptions"]["uri"] for source in applied[2]["dataSources"]]
    assert paths == [f"features/{name}" for name in VIEWS]
    assert str(ROOT).encode() not in (applied[0] / "registry.db").read_bytes()


def test_feast_apply_from_the_root_changes_nothing(applied):
    """`feast -c feature_repo apply` over the same state finds everything as it should be."""
    state, _, content = applied
    feast(state, "-c", "feature_repo", "apply", folder=ROOT)
    assert registry_content(state / "registry.db", times=True) == content


def test_endcap_apply_gives_the_same_registry(applied, tmp_path, monkeypatch):
    """Our verb and Feast's command write the same objects."""
    from jobs.cli import endcap

    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path / "state"))
    answer = CliRunner().invoke(endcap, ["apply"])
    assert answer.exit_code == 0, answer.output
    assert registry_content(tmp_path / "state" / "registry.db") == registry_content(
        applied[0] / "registry.db"
    )
