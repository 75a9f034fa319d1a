"""The report of one experiment: a table in the terminal, a page, and its numbers as JSON.

In: the logs of the installation, or of a replay. Out: reports/experiment_NAME.html and .json; of a replay
reports/replay_NAME.*, as it is not the shop's own experiment.

    endcap experiment report engine
    endcap experiment report engine --replay
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bentos.experiments import load_experiments
from feature_repo.settings import Settings
from jobs.experiments.figures import figures
from jobs.experiments.log_rows import NoLogsError
from jobs.experiments.other_policies import policy_records
from jobs.experiments.page import page
from jobs.experiments.replay_state import replayed
from jobs.experiments.side_by_side import side_by_side
from jobs.experiments.summary import summary
from jobs.experiments.verdict import Verdict, verdict

Record = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """What was found, in words and numbers, and where it lies."""

    text: str
    verdict: Verdict
    records: list[Record]
    page: Path


def run(settings: Settings, name: str, *, replay: bool = False) -> Report:
    """Write the report; NoLogsError where nobody has been in the experiment."""
    own = replayed(settings, name) if replay else settings
    experiment = load_experiments(own.experiments_file).named(name)
    found = figures(own, experiment)
    if found is None:
        how = f"play more trips, or see when {name} starts, and on whom" if replay else "serve some requests"
        raise NoLogsError(f"Nobody has been in {name} yet, as {own.exposure_log} says; {how}")
    records = [*found.records, *(side_by_side(own, experiment) if replay else ())]
    records += policy_records(found.log, experiment)
    said = verdict(records, experiment)
    records.append(
        {"report": "experiment", "experiment": name, "metric": "verdict", "value": 1, **vars(said)}
    )
    path = settings.reports / f"{'replay' if replay else 'experiment'}_{name}.html"
    write(path.with_suffix(".json"), orjson.dumps(records, option=orjson.OPT_INDENT_2))
    write(path, page(experiment, records, said, replay=replay).encode())
    return Report(summary(experiment, records, said, replay=replay), said, records, path)


def write(path: Path, content: bytes) -> None:
    """Write a file aside and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".aside")
    aside.write_bytes(content)
    aside.replace(path)
