"""The guide to Google Cloud: its commands are ones that there are, in an order that can be followed."""

import re
import shlex
from pathlib import Path

import click
import pytest

from jobs.cli import endcap

pytestmark = pytest.mark.gcp
ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "google-cloud.md"


def commands(page):
    """Lines of `endcap` in the code blocks of a page, with what follows a backslash, as words."""
    blocks = re.findall(r"(?ms)^```\n(.*?)^```$", page.read_text())
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("endcap ")]


@pytest.mark.parametrize("words", commands(GUIDE), ids=" ".join)
def test_a_command_has_options_that_its_verb_has(words):
    """Verbs, options and the kinds of their values."""
    verb, rest = endcap, words[1:]
    while isinstance(verb, click.Group):
        name, *rest = rest
        verb = verb.commands[name]
    verb.make_context(name, list(rest))


def test_the_thread_goes_from_rows_to_an_answer():
    """Every step stands before what needs it."""
    text = GUIDE.read_text()
    thread = (
        "terraform -chdir=infra apply",
        "gcloud secrets versions add",
        "gcsfuse my-shop-endcap-lake /lake",
        "export ENDCAP_PROFILE=gcp",
        "endcap ingest",
        "endcap submit build-features",
        "endcap load",
        "endcap apply",
        "endcap plan",
        "endcap daily",
        "bentoml build",
        "docker push",
        "endcap deploy vertex",
        ":predict",
        "endcap submit code",
        "endcap airflow-dag --on composer",
        "endcap export-logs",
        "endcap undeploy vertex",
        "terraform -chdir=infra destroy",
    )
    places = [text.index(words) for words in thread]
    assert places == sorted(places)


def test_every_setting_of_the_profile_is_set():
    """Those that `feature_repo.settings` says are for gcp, and where the online store is."""
    told = set(re.findall(r"(?m)^export (ENDCAP_\w+)=", GUIDE.read_text()))
    settings = (ROOT / "feature_repo" / "settings.py").read_text()
    wanted = set(re.findall(r"(?m)^    (ENDCAP_\w+) .*for gcp$", settings))
    assert wanted
    assert told >= wanted | {"ENDCAP_PROFILE", "ENDCAP_STATE", "ENDCAP_REDIS_URL"}


@pytest.mark.parametrize("page", [GUIDE, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """To files that there are, and headings in them."""
    for path, heading in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", page.read_text()):
        there = (page.parent / path) if path else page
        assert there.exists(), path
        if heading:
            titles = re.findall(r"(?m)^#+ (.*)$", there.read_text())
            assert heading in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles}
