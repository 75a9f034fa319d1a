"""What is shipped: `bentoml build` in the root makes a Bento that needs nothing from this checkout.

It is served as in a container: with the release packed inside, an empty model store, and an environment
that holds the packages that the Bento declares and no other.
"""

import subprocess
import tomllib
from datetime import datetime
from pathlib import Path

import built_bento
import httpx
import pytest
import served_shop
from built_bento import declared, installed
from packaging.requirements import Requirement
from served_shop import ROOT

from bentos.release import packed_tag
from feature_repo.settings import Settings

NEEDED = {"bentoml", "numpy", "orjson", "pyyaml", "redis", "xgboost"}
UNWANTED = {
    *("tensorflow", "tensorflow-recommenders", "tf-keras", "torch", "transformers", "pyspark"),
    *("feast", "duckdb", "pandas", "endcap"),
}
shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture(scope="module")
def bento(shop, tmp_path_factory):
    """Folder of an exported Bento."""
    return built_bento.exported(shop, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def python(bento, tmp_path_factory):
    """Interpreter of a fresh environment with links to the packages that the Bento declares."""
    return built_bento.interpreter(bento, tmp_path_factory.getbasetemp())


def test_bento_holds_sources_and_release_and_nothing_else(bento, shop):
    """Packed are both packages that serve and the release; not tests, jobs, state or caches."""
    sources = {path.relative_to(bento / "src") for path in (bento / "src").rglob("*") if path.is_file()}
    assert {path.parts[0] for path in sources} == {
        *("bentos", "feature_repo"),
        *("pyproject.toml", "README.md", "LICENSE", "bentofile.yaml"),
    }
    assert not [path for path in sources if path.suffix == ".pyc"]
    for package in ("bentos", "feature_repo"):
        expected = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert {path for path in sources if path.suffix == ".py" and path.parts[0] == package} == expected
    assert Path("feature_repo/feature_store.yaml") in sources
    assert packed_tag(bento) == shop.tag
    assert sum(path.stat().st_size for path in (bento / "src").rglob("*")) < 1_000_000


def test_declared_packages_are_those_of_the_project(bento):
    """The Bento declares the project's own dependencies, and BentoML as it is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ours = {Requirement(line).name for line in project["project"]["dependencies"]}
    names = {requirement.name for requirement in declared(bento)}
    assert names == ours
    assert names >= NEEDED
    assert {str(each) for each in declared(bento)} >= set(
        map(str, map(Requirement, project["project"]["dependencies"]))
    )


def test_no_training_framework_is_installed_with_it(bento):
    """Neither the declared packages nor what they need bring TensorFlow, torch, Spark, Feast or pandas."""
    everything = installed(declared(bento))
    assert len(everything) > len(NEEDED)
    assert everything & UNWANTED == set()


def test_environment_has_the_bento_and_not_the_checkout(bento, python, shop):
    """In that environment our packages come from the Bento, and the others of the checkout do not exist."""
    program = "import bentos, importlib.util as u; print(bentos.__file__, *map(u.find_spec, {!r}))"
    absent = ["jobs", "training", "torch", "tensorflow", "pyspark", "tests"]
    command = [python, "-c", program.format(absent)]
    found = subprocess.check_output(command, env=shop.environment, cwd=bento / "src", text=True)
    assert found.split() == [str(bento / "src" / "bentos" / "__init__.py"), *["None"] * len(absent)]


def test_bento_answers_on_its_own(bento, python, shop, tmp_path):
    """It serves the packed release, whatever is current elsewhere: first top sellers, then from a store."""
    state = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    state.state.mkdir()
    state.current_release.write_text("endcap-release:newer\n")
    home = served_shop.environment(state.state, tmp_path / "empty")
    serve = (python, "-m", "bentoml", "serve", ".")
    served = {"environment": home, "cwd": bento, "log": tmp_path / "serve.log", "until": "/livez"}
    with served_shop.serving(*serve, **served) as url:
        ready = [served_shop.answers(f"{url}/readyz")]
        without = httpx.post(f"{url}/recommend", json={"user_id": "u1", "k": 2}).json()
        for path in (shop.settings.registry, shop.settings.online_store):
            (state.state / path.name).write_bytes(path.read_bytes())
        ready.append(served_shop.answers(f"{url}/readyz"))
        with_store = httpx.post(f"{url}/recommend", json={"user_id": "u1", "k": 2}, timeout=60).json()
        first = with_store["items"][0]["item_id"]
        event = {"event_id": "e1", "kind": "purchase", "user_id": "u1", "item_id": first}
        applied = httpx.post(f"{url}/events", json=event).json()
        afterwards = httpx.post(
            f"{url}/online/recommend", json={"user_id": "u1", "k": 2, "explain": True}
        ).json()
    assert ready == [False, True]
    assert without["degraded"] == ["no online store (run `endcap materialize`): top sellers"]
    assert [item["item_id"] for item in without["items"]] == ["i00", "i01"]
    assert (with_store["degraded"], len(with_store["items"])) == ([], 2)
    assert with_store["stages_ms"].keys() == {"user", "candidates", "items", "rank"}
    assert applied == {"accepted": 1, "duplicates": 0, "applied": True}
    times = [datetime.fromisoformat(answer["feature_time"]) for answer in (with_store, afterwards)]
    assert times[1] > times[0]
    assert [len(item["contributions"]) for item in afterwards["items"]] == [5, 5]
    assert without["release"] == with_store["release"] == shop.tag


def test_folder_without_bento_packs_nothing(tmp_path):
    """Outside a Bento there is no packed release."""
    assert packed_tag(tmp_path) is None
