"""The verbs of experiments from the command line: what they tell, and their errors, in one line."""

import json
import signal

import click
import pytest
from click.testing import CliRunner
from fake_service import EXPERIMENTS, Stage, installation, trips
from logged_shop import log_answers, log_events

from jobs.cli import endcap
from jobs.experiments.cli import experiment
from jobs.experiments.replay_state import replay_settings

VERBS = sorted(experiment.commands)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """An installation with a recording and an experiment, which the verbs find."""
    settings = installation(tmp_path)
    monkeypatch.setenv("ENDCAP_STATE", str(settings.state))
    monkeypatch.setenv("ENDCAP_REPORTS", str(settings.reports))
    before = signal.getsignal(signal.SIGTERM)  # which verbs heed in their own way
    yield settings
    signal.signal(signal.SIGTERM, before)


def call(words):
    """Exit code and output of a command line."""
    answer = CliRunner().invoke(endcap, words.split())
    return answer.exit_code, answer.output


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_shows_an_example_that_it_takes(verb):
    """Help is a sentence, then an example whose words are options that the verb has."""
    code, said = call(f"experiment {verb} --help")
    assert code == 0
    (example,) = [line.split() for line in said.splitlines() if line.strip().startswith("endcap ")]
    assert example[:3] == ["endcap", "experiment", verb]
    experiment.commands[verb].make_context(verb, example[3:])
    options = [each for each in experiment.commands[verb].params if isinstance(each, click.Option)]
    assert all(each.help for each in options)


TOLD = {
    "experiment report engine": "exposures.db says; serve some requests",
    "experiment report engin": "There is no experiment 'engin'; use engine",
    "experiment report engine --replay": "engine was not replayed yet; `endcap replay --experiment engine`",
    "experiment plan engine --replay": "engine was not replayed yet; `endcap replay --experiment engine`",
    "experiment plan engin": "There is no experiment 'engin'; use engine",
    "experiment off-policy engine": "No arm of engine explores; give one `explore: ",
    "experiment off-policy engine --replay": "engine was not replayed yet; `endcap replay --experiment",
    "replay --experiment engin": "There is no experiment 'engin'; use engine",
    "replay --experiment engine": "endcap-release:one is not in the model store; run `endcap publish`",
}


@pytest.mark.parametrize(("words", "says"), TOLD.items(), ids=TOLD)
def test_an_error_is_one_line(settings, words, says):
    """Before anything was logged or replayed; no half of a replay stays."""
    code, said = call(words)
    assert (code, said.count("\n"), said[:7]) == (1, 1, "Error: ")
    assert says in said
    assert not replay_settings(settings, "engine").state.exists()


@pytest.mark.parametrize("words", ["experiment report engine", "experiment plan engine", "experiment check",
                                   "experiment off-policy engine", "replay --experiment engine"])  # fmt: skip
def test_without_experiments_each_verb_says_how_to_begin(settings, words):
    """The file that is not there, and the one to copy to it."""
    settings.experiments_file.unlink()
    code, said = call(words)
    assert code == (2 if "check" in words else 1)
    says = "is not there; copy bentos/experiments.yaml to it, and change that"
    assert said == f"Error: {settings.experiments_file} {says}\n"


def test_logs_are_exported(settings):
    """One line: how many rows, where, and of what."""
    log_answers(settings, 0, 5)
    log_events(settings, 0, 3)
    code, said = call("export-logs")
    assert code == 0
    assert said.split()[:4] == ["export-logs", "8", "new", "rows"]
    assert said.endswith(f"{settings.state}/logs   answers 5, events 3\n")


def test_a_report_is_told_and_written(settings):
    """The text, the page that it stands on, and its numbers beside that; it is no replay."""
    settings.experiments_file.write_text(
        EXPERIMENTS.replace("old:", "a:")
        .replace("new:", "b:")
        .replace(" old", " a")
        .replace("2024-01-01", "2017-12-04")
    )
    log_answers(settings, 0, 60)
    code, said = call("experiment report engine")
    page = settings.reports / "experiment_engine.html"
    assert (code, said.splitlines()[-1]) == (0, str(page))
    assert "A replay" not in said
    assert page.read_text().startswith("<!doctype html>")
    records = json.loads(page.with_suffix(".json").read_text())
    assert {each["experiment"] for each in records} == {"engine"}
    assert records[-1]["metric"] == "verdict"


def test_a_replay_is_played_and_reported(settings, monkeypatch):
    """How many trips, then its report, which says that it is one and lies apart from the shop's own."""
    Stage(settings, monkeypatch)
    code, said = call("replay --experiment engine --every-arm")
    page = settings.reports / "replay_engine.html"
    first, *rest = said.splitlines()[said.startswith("trips") :]
    assert code == 0
    assert first.split()[:3] == ["replay", str(len(trips())), "trips"]
    assert rest[-1] == str(page)
    assert "A replay. These are recorded purchases played again, not a live test" in said
    records = json.loads(page.with_suffix(".json").read_text())
    assert {each["arm"] for each in records if each.get("method") == "side by side"} == {"old", "new"}
    assert "not a live test" in page.read_text()
    assert not (settings.reports / "experiment_engine.html").exists()
    again = call("experiment report engine --replay")
    assert again == (0, "\n".join(rest[1:]) + "\n")
