"""Play recorded trips against a running service, as if they happened now: who gets which arm is its choice.

Each trip of the weeks after the release's, in the order of time: the clock is set to it, the shopper is shown
a page, a slot counts as clicked where its item is in the trip's basket, and the basket is posted as
purchases, so features move as they would live; at the end of each week the store is brought up to date. It is
no experiment: nobody saw the pages, and what is bought is bought whatever they show.

    endcap replay --experiment engine
"""

import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import orjson

from bentos.api_models import MAX_EVENTS
from bentos.experiments import Experiment, load_experiments
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.experiments.replay_log import Page, pages_shown, played, shown_so
from jobs.experiments.replay_state import ReplayError, materialize, played_from, prepare
from jobs.experiments.trips import Trip, recorded_trips
from jobs.local_server import local_server
from jobs.pipeline import Say
from jobs.result import Result
from jobs.writer_lock import writer_lock

TIMEOUT_S = 30.0
JSON = {"content-type": "application/json"}
NONE_SHOWN: Mapping[str | None, Page] = MappingProxyType({})


class Client:
    """One kept connection to a service."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def rest(self) -> None:
        """Let go of the connection, as the service does of an idle one; the next request opens another."""
        self._connection.close()

    def ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """The answer to a request; ReplayError for none, and for one that says no."""
        try:
            self._connection.request(method, path, orjson.dumps(body), JSON)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ReplayError(
                f"No answer to {method} {path} ({error}); run the same command again"
            ) from error
        if response.status != 200:
            raise ReplayError(f"{method} {path} was answered {response.status}: {content[:300]!r}")
        answer: dict[str, Any] = orjson.loads(content)
        return answer


@dataclass(frozen=True)
class Player:
    """Plays trips; with `every_arm`, testers of every arm are shown a page too, to compare them."""

    client: Client
    experiment: Experiment
    k: int
    task: str
    every_arm: bool = False

    def play(self, trip: Trip, shown: Mapping[str | None, Page] = NONE_SHOWN) -> None:
        """One trip; `shown` are its pages that were answered before a replay was cut off."""
        self.client.ask("PUT", "/clock", {"now": trip.paid_at})
        page = shown.get(None) or self.page(trip.user_id, {})
        for arm in self.experiment.arms if self.every_arm else ():
            if arm not in shown:
                self.page(trip.user_id, {self.experiment.name: arm})
        events = [*clicks(trip, page), *purchases(trip, page)]
        for first in range(0, len(events), MAX_EVENTS):
            self.client.ask("POST", "/events", {"events": events[first : first + MAX_EVENTS]})

    def page(self, user_id: str, arms: dict[str, str]) -> Page:
        """What a shopper is shown."""
        body = {"user_id": user_id, "k": self.k, "task": self.task, "arms": arms}
        answer = self.client.ask("POST", "/online/recommend", body)
        return Page(answer["request_id"], tuple(item["item_id"] for item in answer["items"]))


def clicks(trip: Trip, page: Page) -> Iterator[dict[str, Any]]:
    """A click for each slot whose item was bought on the trip."""
    for item in page.item_ids:
        if item in trip.items:
            yield event(trip, item, "click", request_id=page.request_id)


def purchases(trip: Trip, page: Page) -> Iterator[dict[str, Any]]:
    """What was bought; of the page's items it is known where they were seen."""
    for item, paid in trip.items.items():
        seen = {"request_id": page.request_id} if item in page.item_ids else {}
        yield event(trip, item, "purchase", amount=max(paid, 0.0), **seen)


def event(trip: Trip, item: str, kind: str, **more: Any) -> dict[str, Any]:
    """An event of a trip."""
    told = {"event_id": trip.event_id(item, kind), "kind": kind, "user_id": trip.user_id, "item_id": item}
    return {**told, **more}


def run(
    settings: Settings,
    name: str,
    *,
    k: int = 10,
    task: str = "all",
    most: int | None = None,
    every_arm: bool = False,
    restart: bool = False,
    say: Say,
) -> Result:
    """Play the recorded trips that were not played yet, `most` of all at most. One replay at a time."""
    started = time.perf_counter()
    with writer_lock(replace(settings, state=settings.state / "replays")):
        own = prepare(settings, name, restart=restart)
        if (before := shown_so(own)) not in (None, (k, task)):
            raise ReplayError(
                f"The replay of {name} has shown --k {before[0]} --task {before[1]}; go on with these, or"
                " give --restart to play all again"
            )
        trips = recorded_trips(settings.table("transactions"), after=played_from(settings), most=most)
        done = played(own, trips)
        baskets = {trip.basket_id for trip in done}
        todo = [trip for trip in trips if trip.basket_id not in baskets]
        if done:
            say(f"{len(done):,} of {len(trips):,} trips were played before")
        playing = time.perf_counter()
        if todo:
            experiment = load_experiments(own.experiments_file).named(name)
            with local_server(own, variables={"ENDCAP_REPLAY": "1"}) as server:
                player = Player(Client(server.url), experiment, k, task, every_arm)
                playing = time.perf_counter()
                play_all(own, player, todo, done)
    seconds = time.perf_counter() - playing
    detail = f"of {len(trips):,} trips, {len(todo) / max(seconds, 1e-9):.0f} a second"
    return Result("replay", len(todo), "trips", own.state, time.perf_counter() - started, detail)


def play_all(own: Settings, player: Player, trips: Sequence[Trip], done: Sequence[Trip]) -> None:
    """Play trips in order, behind those that are done, and bring the store up to date as each week ends."""
    from tqdm import tqdm

    calendar, first = ShopCalendar.load(own.shop_calendar), trips[0]
    same = [trip for trip in done if (trip.user_id, trip.paid_at) == (first.user_id, first.paid_at)]
    shown = pages_shown(own, player.experiment.name, first, nth=len(same))
    week = calendar.week_at(done[-1].paid_at if done else played_from(own))
    for trip in tqdm(trips, desc="trips", unit="trip", mininterval=1.0, disable=None):
        now = calendar.week_at(trip.paid_at)
        if now != week:
            player.client.rest()
            materialize(own, calendar.end(now - 1))
            week = now
        player.play(trip, shown)
        shown = NONE_SHOWN
