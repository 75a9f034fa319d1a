"""A service in this process that a replay can play against: real logs, made-up pages, and it can be cut off.

What it shows follows from what the shopper bought before, as of a real one; the arms are those assigned.
"""

import sqlite3
import uuid
from contextlib import closing, contextmanager
from datetime import datetime

import orjson
from recorded_shop import CALENDAR, baskets, line, random_lines, write

from bentos.arms import experiments_in_force
from bentos.assignment import assigned
from bentos.event_log import Event, EventLog
from bentos.exposure_log import Exposure, ExposureLog
from bentos.recommend import Recommendation
from bentos.slots import Slot
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from jobs.experiments import replay, replay_state

RELEASED = CALENDAR.end(1)
EXPERIMENTS = """
layers: {page: {holdout: 0.2}}
experiments:
  engine:
    {layer: page, control: old, primary: ctr, start: 2024-01-01T00:00:00Z,
     arms: {old: {share: 0.5, legacy: segment}, new: {share: 0.5}}}
"""
MINUTE = 8 * 1440  # in the first week that is played
LINES = [
    *random_lines(3),
    *(line("u1", "x/1", f"i{n}", MINUTE) for n in (2, 3)),  # two trips of one shopper at one time
    *(line("u1", "x/2", f"i{n}", MINUTE) for n in (3, 4, 5)),
    *(line("u2", "big", f"i{n}", 2 * MINUTE) for n in range(300)),  # more than one request may hold
]


def installation(folder, experiments=EXPERIMENTS):
    """Settings over a recording and experiments in a folder."""
    settings = Settings(state=folder / "state", reports=folder / "reports")
    write(settings, LINES)
    settings.experiments_file.write_text(experiments)
    settings.current_release.write_text("endcap-release:one\n")
    return settings


def trips():
    """What is to be played: (paid at, user, basket) and paid by item."""
    return baskets(LINES, RELEASED)


class CutOff(BaseException):
    """The process that plays was killed."""


class FakeService:
    """Stands in for a server and for the client that asks it: `ask` answers.

    `left` requests until it is cut off, `late` after the last was served and before its answer came.
    """

    def __init__(self, settings, left=None, *, late=False):
        self.settings, self.left, self.late = settings, left, late
        self.now, self.rested, self.asked = RELEASED, 0, []
        self.experiments = experiments_in_force(settings)
        self.exposures, self.happened = ExposureLog(settings.exposure_log), EventLog(settings.event_log)
        for log in (self.exposures, self.happened):
            log._connection.execute("PRAGMA synchronous = OFF")  # the disk is not what is tested

    def close(self):
        """Close its logs, as the end of a process does."""
        self.exposures.close()
        self.happened.close()

    def rest(self):
        """Note that the connection was let go of."""
        self.rested += 1

    def ask(self, method, path, body):
        """The answer to a request."""
        self.asked.append((method, path))
        cut = self.left is not None and len(self.asked) > self.left
        if cut and not self.late:
            raise CutOff
        answer = getattr(self, path.rpartition("/")[2])(orjson.loads(orjson.dumps(body)))
        if cut:
            raise CutOff
        return answer

    def clock(self, body):
        """Move on, never back."""
        before, self.now = self.now, datetime.fromisoformat(body["now"])
        assert self.now >= before
        return {}

    def recommend(self, body):
        """A page that depends on who asks, the arm and how often they bought before."""
        found = assigned(self.experiments, body["user_id"], self.now, body["arms"])
        bought = sum(len(basket.items) for basket in self.happened.baskets(body["user_id"], after_us=0))
        first = bought + sum(map(ord, "".join(found.arms.values())))
        n = body["k"] - 2 * ("more" in found.arms.values())  # an arm that shows less
        items = [f"i{(first + place) % 13}" for place in range(n)]
        slots = tuple(Slot(item, "", 0.0, rank, (), "") for rank, item in enumerate(items, 1))
        request_id = uuid.uuid4().hex
        page = Recommendation(body["user_id"], body["task"], "r:1", slots)
        self.exposures.append([Exposure(request_id, page, body["k"], microseconds(self.now), 1.0, found)])
        return {"request_id": request_id, "items": [{"item_id": item} for item in items]}

    def events(self, body):
        """Keep a batch."""
        told = [Event(**each) for each in body["events"]]
        self.happened.append([told], now_us=microseconds(self.now), arrived_s=0.0)
        return {}


class Stage:
    """Replays of one installation over fake services."""

    def __init__(self, settings, monkeypatch):
        self.settings, self.materialized, self.said, self.service = settings, [], [], None
        self.next = {}
        for module in (replay, replay_state):
            monkeypatch.setattr(module, "played_from", lambda _: RELEASED)
            monkeypatch.setattr(module, "materialize", lambda _, end: self.materialized.append(end))
        monkeypatch.setattr(replay, "local_server", self.serve)
        monkeypatch.setattr(replay, "Client", lambda _: self.service)

    @contextmanager
    def serve(self, own, *, variables):
        """A service over a replay's state, which is there for as long as the block lasts."""
        assert variables == {"ENDCAP_REPLAY": "1"}
        self.service = FakeService(own, **self.next)
        self.url = "http://fake"
        try:
            yield self
        finally:
            self.service.close()

    def play(self, name="engine", *, left=None, late=False, **options):
        """Play, until it is cut off if so many requests are left; the result, None if it was."""
        self.next = {"left": left, "late": late}
        try:
            return replay.run(self.settings, name, say=self.said.append, **options)
        except CutOff:
            return None


def rows(path, query):
    """Rows of a log."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def events(settings):
    """(event, kind, user, item, amount, answer, time) in order."""
    if not settings.event_log.is_file():
        return []
    columns = "event_id, kind, user_id, item_id, amount, request_id, received_us"
    return rows(settings.event_log, f"SELECT {columns} FROM events ORDER BY seq")


def exposures(settings):
    """(answer, user, time, content) in the order of time: some are logged a moment later than others."""
    query = "SELECT request_id, user_id, shown_us, content FROM exposures ORDER BY shown_us, seq"
    return [(*row[:3], orjson.loads(row[3])) for row in rows(settings.exposure_log, query)]


def played(settings):
    """All that a replay has logged, without the names that chance gave: pages, events with their pages."""
    pages = {
        name: (user, us, told["forced"], str(told["arms"]), tuple(told["items"]))
        for name, user, us, told in exposures(settings)
    }
    happened = [(*row[:5], pages.get(row[5])) for row in events(settings)]
    return sorted(pages.values()), sorted(happened, key=str), len(exposures(settings))
