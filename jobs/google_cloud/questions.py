"""What each step asks of BigQuery, without asking it: queries by step, for a preview of what they cost.

In: the settings, Feast's registry, and which cut or day. Out: `Question`s. Labels are the warehouse's own
queries. Of a training set only the scan of each feature table is given: the rest of Feast's statements reads
what those scans found, and BigQuery cannot tell the bytes of several statements before they run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bentos.neighbours import PANEL_WEEKS
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.store import open_store
from jobs.materialize import FIRST, NotAppliedError, latest_job, online_views
from training.cold_items import FEW
from training.cold_items import WINDOWS as COLD_WINDOWS
from training.cold_shelf import MONTH, QUARTER
from training.day import day_split, days_until
from training.purchases import FIT_WEEKS
from training.refresh import BACK
from training.split import CATALOGUE_WEEKS, Split, Window, temporal_split
from training.warehouse import Warehouse

RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True)
class Question:
    """One query: what it is for, its text, and its parameters by position."""

    what: str
    query: str
    parameters: tuple[object, ...] = ()


class NotedError(Exception):
    """A query was noted instead of being asked."""


class NotedTables:
    """Tables that note what they are asked, and answer nothing."""

    def __init__(self) -> None:
        self.noted: tuple[str, tuple[object, ...]] = ("", ())

    def frame(self, query: str, parameters: Sequence[object]) -> Any:
        """Note a query; NotedError, as there are no rows to go on with."""
        self.noted = query, tuple(parameters)
        raise NotedError


class Questions:
    """What the steps of one installation ask."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store(settings)
        self.views = online_views(self.store, settings)
        self.calendar = ShopCalendar.load(settings.shop_calendar)
        self.tables = NotedTables()
        self.warehouse = Warehouse(self.tables)

    def of_cut(self, cut: int) -> dict[str, list[Question]]:
        """Those of a training in full as of the end of a week, by step."""
        split = temporal_split(self.calendar, cut)
        now = split.test.instant
        steps = {"train": self.train(split), "evaluate": self.evaluate(split), "materialize": self.fill(now)}
        return {name: list(asked) for name, asked in steps.items()}

    def of_day(self, day: date, filled_to: datetime | None) -> dict[str, list[Question]]:
        """Those of a day, by step; its fill goes on from an instant, or from nothing."""
        split = day_split(self.calendar, day)
        week, window = temporal_split(self.calendar, split.cut), split.window
        steps = {
            "materialize": self.fill(split.known, filled_to),
            "train": self.train(week),
            "warm-start": self.warm_start(week.test.instant, window.instant, split.known),
            "evaluate": self.evaluate_day(window),
            "gate": self.gate(sorted({*week.instants, window.instant, split.known})),
        }
        return {name: list(asked) for name, asked in steps.items()}

    def labels(self, name: str, *arguments: object, **named: object) -> Question:
        """A question of the warehouse, by its method's name."""
        try:
            getattr(self.warehouse, name)(*arguments, **named)
        except NotedError:
            return Question(name, *self.tables.noted)
        raise TypeError(f"{name} asks nothing of the tables")

    def features(self, service: str, instants: Sequence[datetime]) -> Iterator[Question]:
        """The scans of a training set of a service as of some instants."""
        for projection in self.store.get_feature_service(service).feature_view_projections:
            view = self.store.get_feature_view(projection.name)
            source, time = in_bigquery(view.batch_source), view.batch_source.timestamp_field
            names = [*view.join_keys, time, source.created_timestamp_column]
            names += [field.name for field in projection.features]
            query = f"SELECT {', '.join(names)} FROM {source.get_table_query_string()}"
            query += f" WHERE {time} <= '{wall(max(instants))}'"
            if view.ttl:
                query += f" AND {time} >= '{wall(min(instants) - view.ttl)}'"
            yield Question(f"{service}: {view.name}", query)

    def fill(self, end: datetime, since: datetime | None = None) -> Iterator[Question]:
        """The latest rows of each view that is served."""
        for view in self.views:
            yield Question(f"latest {view.name}", latest_job(self.store, view, end, since).to_sql())

    def world(self, now: datetime) -> Iterator[Question]:
        """Items that were ever sold, and their texts' vectors."""
        yield self.labels("items")
        yield self.labels("catalogue_ids", FIRST, now)
        yield from self.features("item_retrieval", [now])

    def users(self, now: datetime) -> Iterator[Question]:
        """Everybody's features."""
        yield self.labels("user_ids", now)
        yield from self.features("user_ranking", [now])

    def assembled(self, instants: Sequence[datetime], calendar: ShopCalendar) -> Iterator[Question]:
        """What releases as of some instants are made of."""
        weeks = [calendar.week_at(each) for each in instants]
        yield from self.features("item_ranking", instants)
        for at in sorted({*instants, *(calendar.start(week - PANEL_WEEKS) for week in weeks)}):
            yield from self.users(at)
        for at, week in zip(instants, weeks, strict=True):
            yield self.labels("catalogue_ids", calendar.start(week - CATALOGUE_WEEKS), at)
            yield self.labels("basket_counts", calendar.start(week - PANEL_WEEKS), at)

    def examples(self, windows: Sequence[Window]) -> Iterator[Question]:
        """Purchases of some windows, and features as of their beginnings, for the towers."""
        starts = [window.instant for window in windows]
        for window in windows:
            yield self.labels("purchases", window)
        yield from self.features("user_ranking", starts)
        yield from self.features("item_ranking", starts)

    def train(self, split: Split) -> Iterator[Question]:
        """A training in full."""
        calendar = self.calendar
        yield from self.world(split.test.instant)
        for week in split.retrieval_weeks[::FIT_WEEKS]:
            yield from self.users(calendar.start(week))
        weeks = [
            Window(each, each, calendar.start(each), calendar.end(each)) for each in split.retrieval_weeks
        ]
        yield from self.examples(weeks)
        yield from self.assembled(split.instants, calendar)
        for window in split.ranker:
            yield self.labels("purchases", window)
            yield from self.features("item_promotions", [window.instant])
        yield self.labels("span", split.test.instant)

    def evaluate(self, split: Split) -> Iterator[Question]:
        """The figures of a training in full."""
        test = split.test
        yield from self.users(test.instant)
        yield from self.features("item_ranking", [test.instant])
        yield from self.features("item_promotions", [test.instant])
        for _ in range(2):  # tasks
            yield from self.held_out(test)
        yield from self.world(test.end)
        for window in split.ranker[-COLD_WINDOWS:]:
            yield from self.cold(window, self.labels("first_sold", window.instant, window.end))
            yield from self.features("user_ranking", [window.instant])
        yield from self.cold(test, self.labels("first_sold", test.instant, test.end))
        since = self.calendar.start(test.first - CATALOGUE_WEEKS)
        yield from self.cold(test, self.labels("rarely_sold", since, test.instant, fewer_than=FEW))
        yield self.labels("purchases", test)
        yield self.labels("items")
        yield self.labels("ever_bought", test.instant)

    def held_out(self, window: Window) -> Iterator[Question]:
        """What recommendations of a window are measured on."""
        yield self.labels("purchases", window)
        yield self.labels("ever_bought", window.instant)
        yield self.labels("trip_counts", window)
        yield self.labels("user_ids", window.instant)

    def cold(self, window: Window, which: Question) -> Iterator[Question]:
        """What recommendations of items with few sales are measured on."""
        yield which
        yield from self.held_out(window)
        for weeks in (MONTH, QUARTER):
            yield self.labels("basket_counts", self.calendar.start(window.first - weeks), window.instant)

    def warm_start(self, learnt: datetime, until: datetime, known: datetime) -> Iterator[Question]:
        """A day's challenger, which goes on from an instant, in the first run of a week."""
        for window in days_until(self.calendar, learnt, until):
            yield from self.world(window.end)
            yield self.labels("purchases", window)
            yield from self.users(learnt)
            yield from self.examples([window])
        yield from self.world(known)
        yield from self.assembled([known], self.back_from(known))
        yield self.labels("span", known)

    def evaluate_day(self, window: Window) -> Iterator[Question]:
        """The figures of a challenger and its champion."""
        for _ in range(2):
            yield from self.world(window.instant)
            yield from self.assembled([window.instant], self.back_from(window.instant))
            yield from self.users(window.instant)
            yield from self.features("item_ranking", [window.instant])
        for _ in range(2):  # tasks
            yield from self.held_out(window)

    def gate(self, instants: Sequence[datetime]) -> Iterator[Question]:
        """The checks of a challenger: rows that might leak, that are served, that are answered from."""
        now = instants[-1:]
        for asked in (instants, now, now):
            yield from self.features("user_ranking", asked)
            yield from self.features("item_ranking", asked)
        yield from self.features("item_ranking", now)  # the champion's

    def back_from(self, instant: datetime) -> ShopCalendar:
        """Weeks that end with the end of a local day."""
        return self.calendar.ending_with(self.calendar.day_at(instant - RESOLUTION), BACK)


def in_bigquery(source: Any) -> Any:
    """A source that lies in BigQuery; NotAppliedError for one of the embedded profile."""
    if type(source).__name__ != "BigQuerySource":
        raise NotAppliedError(
            f"The registry has {source.name} as {type(source).__name__}, which BigQuery cannot read;"
            " run `endcap apply` with ENDCAP_PROFILE=gcp"
        )
    return source


def wall(instant: datetime) -> str:
    """An instant as Feast writes it into a query: UTC without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat()
