"""Who may import whom: feature_repo <- bentos <- training <- jobs, and what must stay out of each."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAIN = ["feature_repo", "bentos", "training", "jobs"]
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in CHAIN}
NOT_WHILE_SERVING = {
    "tensorflow",
    "tensorflow_recommenders",
    "tf_keras",
    "torch",
    "transformers",
    "pyspark",
    "pandas",
    "implicit",
    "sklearn",
}
# Where Dataproc runs a job there are pyspark, the standard library and what travels with it.
SPARK_JOBS = [
    *(ROOT / "jobs").glob("build_features.py"),
    *(ROOT / "jobs").glob("spark*.py"),
    *(ROOT / "jobs").glob("build_on_spark.py"),
    *(ROOT / "jobs" / "features").rglob("*.py"),
]
NOT_IN_SPARK_JOBS = {
    "feast",
    "tensorflow",
    "tensorflow_recommenders",
    "tf_keras",
    "torch",
    "bentoml",
    "bentos",
    "training",
}


def imports(path):
    """Top-level names of everything that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the whole name"
            found.add(node.module.split(".")[0])
    return found


def modules_of_ours(path):
    """Dotted names of modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in CHAIN:
            members = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if is_module(name) else node.module for name in members}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in CHAIN}
    return found


def is_module(name):
    """Whether a dotted name is a module or package of this repository."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("package", CHAIN)
def test_imports_point_to_the_left(package):
    """A package imports none of ours that stands to its right in the chain."""
    forbidden = set(CHAIN[CHAIN.index(package) + 1 :])
    assert FILES[package]
    wrong = {str(path.relative_to(ROOT)): imports(path) & forbidden for path in FILES[package]}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_request_path_imports_no_training_framework():
    """Nothing in bentos imports TensorFlow, torch, Spark or pandas."""
    wrong = {str(path.relative_to(ROOT)): imports(path) & NOT_WHILE_SERVING for path in FILES["bentos"]}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_faiss_is_imported_in_one_place_and_only_when_it_is_needed():
    """The index of large catalogues imports it, inside a function: others are served without it."""
    files = [path for paths in FILES.values() for path in paths]
    assert [str(path.relative_to(ROOT)) for path in files if "faiss" in imports(path)] == [
        "bentos/nearest.py"
    ]
    tree = ast.parse((ROOT / "bentos" / "nearest.py").read_text())
    at_once = [node for node in tree.body if isinstance(node, ast.Import)]
    assert all(alias.name != "faiss" for node in at_once for alias in node.names)


def test_spark_jobs_run_where_only_spark_is():
    """Spark jobs and all modules of ours that they reach import neither Feast nor a model's framework."""
    waiting, seen = list(SPARK_JOBS), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert imports(path) & NOT_IN_SPARK_JOBS == set(), path.relative_to(ROOT)
        for name in modules_of_ours(path):
            stem = ROOT.joinpath(*name.split("."))
            waiting.append(
                stem.with_suffix(".py") if stem.with_suffix(".py").exists() else stem / "__init__.py"
            )


def test_every_module_says_what_it_is():
    """Each module opens with a docstring."""
    files = [path for paths in FILES.values() for path in paths]
    assert [str(path) for path in files if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_processes_of_the_embedded_profile_find_no_library_of_google():
    """So every test that starts a step or a server shows that it needs none; on Google Cloud some are."""
    ask = "import google.cloud.bigquery"
    environment = {name: value for name, value in os.environ.items() if name != "ENDCAP_PROFILE"}
    for profile, code in (({}, 1), ({"ENDCAP_PROFILE": "embedded"}, 1), ({"ENDCAP_PROFILE": "gcp"}, 0)):
        run = [sys.executable, "-W", "ignore", "-c", ask]
        done = subprocess.run(run, env=environment | profile, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert code == 0 or "under the embedded profile" in done.stderr


def test_modules_that_speak_to_google_are_few_and_are_imported_late():
    """Only in a function of a module that works without Google, and never in what computes or serves."""
    speakers = {path for files in FILES.values() for path in files if "google" in imports(path)}
    folders = {"feature_repo/bigquery", "jobs/google_cloud", "jobs/experiments", "jobs"}
    assert {str(path.parent.relative_to(ROOT)) for path in speakers} <= folders
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in speakers}
    of_google = {
        path for path in FILES["jobs"] if path.parent.name == "google_cloud" and "cli" not in path.name
    }
    for path in {path for files in FILES.values() for path in files} - speakers - of_google:
        at_once = {
            f"{node.module}.{alias.name}" if is_module(f"{node.module}.{alias.name}") else node.module
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not at_once & names, f"{path} imports what speaks to Google"
