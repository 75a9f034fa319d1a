"""Measure how fast this installation is, and write it down as tidy records.

In: a finished installation (`endcap run`). Out: reports/bench_NAME.json of each bench, and a picture of the
serving bench, bench_serving.png. The machine's noise is in wall times; trust CPU times, and ratios within one
run.

    endcap bench
    endcap bench --only serving
"""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from jobs.benches import events, index, kills, point_in_time, serving, serving_plot, two_tower

Record = dict[str, Any]

BENCHES: dict[str, tuple[Callable[[Settings], Iterator[Record]], ...]] = {
    "batch": (point_in_time.records, two_tower.records),
    "serving": (serving.records, events.records, kills.records),
    "index": (index.records,),
}


def run(settings: Settings, only: str | None, say: Callable[[str], None]) -> None:
    """Run the benches, or the one named `only`; `say` takes a line per figure."""
    for name, benches in BENCHES.items():
        if only in (None, name):
            found = []
            for record in chain.from_iterable(bench(settings) for bench in benches):
                say(line(record))
                found.append(record)
            say(f"{len(found)} figures in {write(settings, name, found)}")
            if name == "serving":
                say(f"drawn in {serving_plot.write(settings.reports, found)}")


def line(record: Record) -> str:
    """A record as a person reads it."""
    hidden = ("report", "metric", "value", "unit")
    tags = ", ".join(f"{name} {value}" for name, value in record.items() if name not in hidden)
    value = f"{record['value']:>10,.{4 if record['unit'] == 'share' else 2}f}"
    return f"{record['report']:<14} {record['metric']:<24} {value} {record['unit']:<5} {tags}"


def write(settings: Settings, name: str, records: list[Record]) -> Path:
    """Replace the report of one bench."""
    path = settings.reports / f"bench_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(records, indent=1) + "\n")
    aside.replace(path)
    return path
