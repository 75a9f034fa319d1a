"""The steps of `fake_days.py`: `fake_day_steps.py --with-parent --result-file FILE VERB --date DAY`."""

import json
import os
import sys
import time
from datetime import date, timedelta
from pathlib import Path

from jobs.child import die_with_parent

LIMIT = 1000  # of a model that the gate lets pass


def write(path, text):
    """Write a file aside, slowly, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    aside.write_text(text[:1])
    time.sleep(float(os.environ.get("FAKE_PAUSE", "0")))
    aside.write_text(text)
    aside.replace(path)


def child(answer, verb, *options):
    """One step."""
    state = Path(os.environ["ENDCAP_STATE"])
    with (state / "calls.log").open("a") as log:
        log.write(f"{verb} {' '.join(options)}\n")
    given = dict(zip(options[::2], options[1::2], strict=True))
    day = date.fromisoformat(given["--date"])

    def read(folder, day):
        return int((state / folder / f"{day}.txt").read_text())

    if verb == "ingest":
        write(state / "tables" / f"{day}.txt", str(read("source", day)))
    elif verb == "build-features":
        total = read("features", day - timedelta(days=1)) + read("tables", day)
        write(state / "features" / f"{day}.txt", str(total))
    elif verb == "materialize":
        write(state / "store.txt", str(read("features", day)))
    elif verb == "train":
        write(state / "weeks" / f"{day}.txt", "7")
    elif verb == "warm-start":
        week = read("weeks", day - timedelta(days=day.weekday()))
        write(state / "model" / f"{day}.txt", str(week * read("features", day)))
    elif verb == "gate":
        passed = read("model", day) <= LIMIT or "--override" in given
        write(state / "gate" / f"{day}.txt", f"passed {given.get('--override', '')}" if passed else "refused")
    elif verb == "switch":
        write(state / "current", f"{day} {read('model', day)}")
    result = {"step": verb, "rows": 1, "unit": "numbers", "where": str(state), "notes": []}
    Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    die_with_parent()
    child(*sys.argv[3:])
