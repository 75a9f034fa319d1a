"""A shop of four steps that reckon with small numbers: what the pipeline's tests run.

    pick (7)  ->  double (2 * pick + cut)  ->  report (both)
              ->  square (pick * pick)     ->

As the pipeline's child: `fake_shop.py --with-parent --result-file FILE VERB --cut N`; a verb that is named in
FAKE_HANG waits instead of ending. As the pipeline itself: `fake_shop.py pipeline FOLDER`.
"""

import json
import os
import sys
import time
from pathlib import Path

from feature_repo.settings import Settings
from jobs.child import die_with_parent
from jobs.markers import result_record
from jobs.pipeline import Pipeline
from jobs.result import Result
from jobs.steps import Choices, Step


def _output(name):
    return lambda settings, _choices: (settings.state / f"{name}.txt",)


STEPS = (
    Step(name="pick", module="fakes.pick", outputs=_output("pick")),
    Step(
        name="double",
        module="fakes.double",
        after=("pick",),
        outputs=_output("double"),
        arguments=lambda _, choices: {"cut": choices.cut},
    ),
    Step(name="square", module="fakes.square", after=("pick",), outputs=_output("square")),
    Step(name="report", module="fakes.report", after=("double", "square"), outputs=_output("report")),
)


def shop(folder):
    """A pipeline over FOLDER/state whose steps' sources are FOLDER/fakes/*.py."""
    if not (folder / "fakes").exists():
        (folder / "fakes").mkdir()
        (folder / "fakes" / "shared.py").write_text("SHARED = 1\n")
        for step in STEPS:
            (folder / "fakes" / f"{step.name}.py").write_text("import fakes.shared\n")
    settings = Settings(state=folder / "state", reports=folder / "reports")
    return Pipeline(settings, steps=STEPS, program=(sys.executable, __file__), root=folder)


def _child(answer, verb, *options):
    state = Settings.from_environment().state
    with (state / "calls.log").open("a") as log:
        log.write(f"{verb}\n")
    if os.environ.get("FAKE_FAIL") == verb:
        sys.exit(f"{verb} does not work")
    if os.environ.get("FAKE_HANG") == verb:
        (state / f"{verb}.txt").write_text("half")
        (state / "hanging.pid").write_text(str(os.getpid()))
        time.sleep(120)

    def read(name):
        return int((state / f"{name}.txt").read_text())

    if verb == "pick":
        value = 7
    elif verb == "double":
        value = 2 * read("pick") + int(options[1])
    elif verb == "square":
        value = read("pick") ** 2
    else:
        value = read("double") + read("square")
    (state / f"{verb}.txt").write_text(str(value))
    result = Result(step=verb, rows=value, unit="numbers", where=state / f"{verb}.txt")
    Path(answer).write_text(json.dumps(result_record(result)))


if __name__ == "__main__":
    if sys.argv[1] == "pipeline":
        shop(Path(sys.argv[2])).run(Choices(cut=1), say=print, head=print)
    else:
        die_with_parent(interval_s=0.05)
        _child(*sys.argv[3:])
