"""The DAG file is the table of a day's steps, calls verbs that there are, and Airflow takes it as it is."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from feature_rows import nasty_shop

from jobs.cli import endcap
from jobs.days.airflow import dag_text, write
from jobs.days.steps import DAY_STEPS

AIRFLOW = "apache-airflow==3.1.8"
NEW_YORK = {"timezone": "America/New_York", "first": date(2024, 3, 10), "schedule": "0 4 * * *"}
# What Airflow makes of the file: import errors, and each task with what follows it and what it would run at
# four in the morning of some local days, one after a night that had 23 hours.
READ = """
import json, sys, pendulum
from types import SimpleNamespace
from airflow.models.dagbag import DagBag
from jinja2 import Template
bag = DagBag(sys.argv[1], include_examples=False)
dag = bag.dags["endcap_daily"]
runs = [SimpleNamespace(logical_date=pendulum.datetime(*day, 4, tz="America/New_York").in_timezone("UTC"))
        for day in ((2024, 3, 10), (2024, 3, 11), (2024, 1, 1))]
tasks = [{"id": task.task_id, "after": sorted(task.downstream_task_ids), "retries": task.retries,
          "skip": task.skip_on_exit_code, "depends_on_past": task.depends_on_past,
          "commands": [Template(task.bash_command).render(dag_run=run) for run in runs]}
         for task in dag.topological_sort()]
told = {"errors": bag.import_errors, "tasks": tasks, "catchup": dag.catchup, "runs": dag.max_active_runs,
        "start": dag.start_date.isoformat()}
print("TOLD" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def text():
    """The file of a shop in New York."""
    return dag_text(DAY_STEPS, **NEW_YORK)


@pytest.fixture(scope="module")
def read(text, tmp_path_factory):
    """What Airflow, in an environment of its own, says of the file."""
    folder = tmp_path_factory.mktemp("airflow")
    write(folder / "dags" / "endcap_daily.py", text)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    uv, links = Path(sys.executable).with_name("uv"), os.environ.get("PIP_FIND_LINKS")
    quick = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    quick += ["--find-links", links] if links else []
    slow = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*(quick if uv.exists() else slow), AIRFLOW], check=True, timeout=600)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-c", READ, str(folder / "dags")],
        env={**variables, "AIRFLOW_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.rpartition("TOLD")[2])
    told["steps"] = [task for task in told["tasks"] if task["id"] != "monitor"]
    return told


def test_airflow_takes_the_file(read):
    """No import errors, and a chain of tasks in the order of the table."""
    assert read["errors"] == {}
    names = [step.name for step in DAY_STEPS]
    assert [task["id"] for task in read["steps"]] == names
    after = {task["id"]: [each for each in task["after"] if each != "monitor"] for task in read["tasks"]}
    assert [after[name] for name in names] == [*([name] for name in names[1:]), []]


def test_days_follow_one_another(read):
    """One run at a time, none before the one of the day before, and missed days are caught up."""
    assert (read["catchup"], read["runs"]) == (True, 1)
    assert all(task["depends_on_past"] for task in read["steps"])
    assert read["start"] == "2024-03-10T05:00:00+00:00"  # local midnight


def test_a_run_does_the_local_day_that_has_ended(read):
    """Also after a night of 23 hours, and on the first of January."""
    words = [shlex.split(command) for command in read["tasks"][0]["commands"]]
    assert [each[each.index("--date") + 1] for each in words] == ["2024-03-09", "2024-03-10", "2023-12-31"]


def test_tasks_are_verbs_that_there_are(read):
    """Each command line is one that `endcap` takes, up to the task's own step."""
    for task in read["steps"]:
        program, verb, *words = shlex.split(task["commands"][0])
        assert program == "endcap"
        made = endcap.commands[verb].make_context(verb, words)
        assert made.params["until"] == task["id"]


def test_a_day_is_monitored_whatever_becomes_of_its_challenger(read):
    """After the data's last step, by a task that nothing waits for, not even the next day's."""
    (monitor,) = [task for task in read["tasks"] if task["id"] == "monitor"]
    assert [task["id"] for task in read["tasks"] if "monitor" in task["after"]] == ["materialize"]
    assert (monitor["after"], monitor["depends_on_past"]) == ([], False)
    program, verb, *words = shlex.split(monitor["commands"][0])
    made = endcap.commands[verb].make_context(verb, words)
    assert (program, str(made.params["day"])) == ("endcap", "2024-03-09")


def test_a_refusal_skips_and_only_data_is_tried_again(read):
    """Exit code 3 is the gate's no; a model that failed once would fail again."""
    assert {tuple(task["skip"]) for task in read["steps"]} == {(3,)}
    tried_again = [task["id"] for task in read["tasks"] if task["retries"]]
    assert tried_again == ["ingest", "build-features", "embed-items", "load", "apply", "materialize"]


def test_the_same_table_makes_the_same_file_and_another_another(text):
    """A file that is kept with the code changes when the table does."""
    assert dag_text(DAY_STEPS, **NEW_YORK) == text
    renamed = tuple(replace(step, name=f"{step.name}2") for step in DAY_STEPS if step.name == "gate")
    assert dag_text((*DAY_STEPS, *renamed), **NEW_YORK) != text
    compile(text, "endcap_daily.py", "exec")
    assert "jobs" not in text


def test_the_verbs_file_calls_verbs_with_its_choices(tmp_path, monkeypatch):
    """`endcap airflow-dag --source ...`: days are taken in from there, and the monitor is not told of it."""
    settings = nasty_shop().write(tmp_path)
    (settings.state / "tables" / "ingest.json").write_text('{"until": "2024-03-08"}')
    monkeypatch.setenv("ENDCAP_STATE", str(settings.state))
    told = CliRunner().invoke(endcap, ["airflow-dag", "--source", "folder:/a shop", "--scale", "0.5"])
    commands = [
        shlex.split(each.replace("{DAY}", "2024-03-09").replace("{name}", "gate"))
        for each in re.findall(r'bash_command=f"(.*)",', told.output)
    ]
    (daily, monitor) = (endcap.commands[verb].make_context(verb, words) for _, verb, *words in commands)
    assert (daily.params["source"], daily.params["scale"], daily.params["until"]) == (
        "folder:/a shop",
        0.5,
        "gate",
    )
    assert monitor.params["day"] == date(2024, 3, 9)
