"""An installation whose logs of answers and events are written by hand, as a service leaves them."""

import sqlite3
from contextlib import closing

import orjson
from experiment_log import START

from bentos.event_log import EventLog
from bentos.exposure_log import ExposureLog
from feature_repo.settings import Settings

SECOND = 1_000_000
FILE = """
layers: {{page: {{}}}}
experiments:
  engine:
    layer: page
    start: 2017-12-04T05:00:00Z
    control: a
    primary: ctr
    arms: {{a: {{share: 0.5}}, b: {{share: 0.5, legacy: top_sellers}}}}
{lines}
"""
PLAN = "rollout: {steps: [0.05, 0.25, 0.5], hours: 24, users: 20}"


def microseconds(hours):
    """The shop's clock so long after the experiment's start."""
    return round(START.timestamp() * SECOND) + round(hours * 3600 * SECOND)


class LoggedShop:
    """A state folder with an experiments' file and both logs."""

    def __init__(self, state):
        self.settings = Settings(state=state, reports=state / "reports")
        ExposureLog(self.settings.exposure_log).close()
        EventLog(self.settings.event_log).close()
        self.said = 0

    def write(self, *lines, text=FILE):
        """The experiments' file, with more lines of the experiment."""
        content = text.format(lines="".join(f"    {line}\n" for line in lines or (PLAN,)))
        self.settings.experiments_file.write_text(content)

    def show(self, answers, *, hours=0.0):
        """Log answers, dicts of `request`, `user`, `arm` and what is other than usual, at one time."""
        usual = {
            "task": "all",
            "k": 2,
            "release": "r",
            "rules": "release",
            "latency_ms": 10.0,
            "degraded": [],
            "settled": {},
            "held_out": [],
            "forced": False,
            "exploration": None,
            "temperature": None,
            "items": ["milk", "tea"],
        }
        rows = []
        for each in answers:
            told = {**usual, **each}
            request, user, arm = (told.pop(name) for name in ("request", "user", "arm"))
            told["arms"] = {"engine": arm} if arm else {}
            n = len(told["items"])
            told |= {"scores": [0.0] * n, "propensities": [1.0] * n, "explored": [False] * n}
            told["bought_before"] = [item == "milk" for item in told["items"]]
            rows.append((request, user, microseconds(told.pop("hours", hours)), orjson.dumps(told)))
        query = "INSERT INTO exposures (request_id, user_id, shown_us, content) VALUES (?, ?, ?, ?)"
        self._insert(self.settings.exposure_log, query, rows)

    def tell(self, events, *, hours=0.0, kind="click"):
        """Log events, (user, item, request) each."""
        rows = []
        for user, item, request in events:
            self.said += 1
            rows.append((f"e{self.said}", kind, user, item, request, microseconds(hours), 0.0))
        query = (
            "INSERT INTO events (event_id, kind, user_id, item_id, request_id, received_us, arrived_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        self._insert(self.settings.event_log, query, rows)

    def _insert(self, path, query, rows):
        with closing(sqlite3.connect(path)) as connection:
            connection.executemany(query, rows)
            connection.commit()
