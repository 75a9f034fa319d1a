"""What stands before the gate: the day's challenger, the champion, and where their features lie.

In: an installation after `endcap warm-start` and `endcap evaluate`. Out: `Subject`, opened once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bentos.online_features import ITEM_VIEW, USER_VIEWS
from bentos.release import Release, ReleaseError, load, load_stored, stored_model
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.store import open_store
from training.day import WINDOW_DAYS
from training.gate_rules import GateRules
from training.recount import Recount

if TYPE_CHECKING:
    import pandas as pd

VIEWS = (*USER_VIEWS, ITEM_VIEW)
SERVICES = {"user": "user_ranking", "item": "item_ranking"}


def challenger_folder(settings: Settings, day: date) -> Path:
    """Where the day's challenger lies."""
    return settings.day(day) / "release"


def values_file(settings: Settings, day: date) -> Path:
    """The day's values per shopper."""
    return settings.day(day) / "per_shopper.parquet"


@dataclass(frozen=True)
class Subject:
    """One day's challenger and all that the checks ask of it."""

    settings: Settings
    day: date
    rules: GateRules
    calendar: ShopCalendar
    challenger: Release
    champion: Release | None
    store: Any

    @property
    def known(self) -> datetime:
        """The instant up to which everything may be known."""
        return self.calendar.day_end(self.day)

    @property
    def window_start(self) -> datetime:
        """The start of the gate's window: what was learnt ends here."""
        return self.calendar.day_end(self.day - timedelta(days=WINDOW_DAYS))

    @property
    def releases(self) -> Mapping[str, Release]:
        """Challenger and champion by name, without the champion where there is none."""
        named = {"challenger": self.challenger, "champion": self.champion}
        return {name: release for name, release in named.items() if release is not None}

    @cached_property
    def recount(self) -> Recount:
        """Features counted again from the tables."""
        slots = self.settings.state / "features" / "departments.json"
        if not slots.exists():
            raise FileNotFoundError(f"No departments in {slots}; run `endcap build-features`")
        return Recount(self.settings, self.calendar.timezone, json.loads(slots.read_text()))

    @cached_property
    def learnt_until(self) -> datetime | None:
        """Until when the challenger has learnt; None where it does not say."""
        told = self.challenger.manifest.get("learnt_until")
        return None if told is None else datetime.fromisoformat(str(told))

    def sample(self, ids: Sequence[str], n: int, what: str) -> list[str]:
        """At most `n` of some ids, the same ones for each run of a day."""
        rng = np.random.default_rng([self.day.toordinal(), *what.encode()])
        return [str(each) for each in rng.permutation(np.asarray(ids, np.str_))[:n]]

    def values(self) -> "pd.DataFrame | None":
        """Values per shopper of the window; None before `endcap evaluate --date`."""
        import pandas as pd

        path = values_file(self.settings, self.day)
        return pd.read_parquet(path) if path.exists() else None

    def parts(self, view: str) -> list[str]:
        """Parquet parts of one view's feature table."""
        from feature_repo.stores.parquet_parts import kept_parts

        return list(kept_parts(self.store.get_feature_view(view).batch_source, str(self.settings.state)))

    def newest(self, view: str, until: datetime) -> datetime | None:
        """The newest time of a view's rows up to an instant."""
        found = self.recount.connection.execute(
            "SELECT max(event_timestamp) FROM read_parquet($1) WHERE event_timestamp <= $2",
            [self.parts(view), until],
        ).fetchone()
        return found[0] if found else None


def champion_of(tag: str | None) -> Release | None:
    """The champion from the model store, None without one or where it can no longer be read."""
    if tag is None:
        return None
    try:
        return load_stored(stored_model(tag))
    except ReleaseError:
        return None


def opened(settings: Settings, day: date, champion: str | None, rules: GateRules) -> Subject:
    """Load what is to be judged; ReleaseError where the challenger is missing or damaged."""
    folder = challenger_folder(settings, day)
    if not folder.exists():
        raise ReleaseError(f"No challenger in {folder}; run `endcap warm-start --date {day}`")
    return Subject(
        settings=settings,
        day=day,
        rules=rules,
        calendar=ShopCalendar.load(settings.shop_calendar),
        challenger=load(folder),
        champion=champion_of(champion),
        store=open_store(settings),
    )
