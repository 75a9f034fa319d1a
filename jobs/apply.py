"""Register features with Feast: what `feature_repo.definitions` names is added or changed, the rest deleted.

In: the definitions. Out: the registry, and tables for them in the online store. No feature row is read, so it
may come before or after `endcap build-features`, and running it again changes nothing.

    endcap apply
"""

import time
from typing import Any

from feature_repo.settings import Settings
from feature_repo.store import open_store
from jobs.result import Result


def run(settings: Settings) -> Result:
    """Make the registry of `settings` equal to the definitions."""
    started = time.perf_counter()
    settings.state.mkdir(parents=True, exist_ok=True)
    defined = definitions()  # first: Feast checks them as it would for anybody
    store = open_store(settings)
    stale = stale_objects(store, defined)
    store.apply(defined, objects_to_delete=stale, partial=False)
    views, services = store.list_feature_views(), store.list_feature_services()
    features = sum(len(view.features) for view in views)
    detail = f"{len(views)} views, {len(services)} services"
    if stale:
        detail += f", deleted {', '.join(sorted(each.name for each in stale))}"
    return Result("apply", features, "features", settings.registry, time.perf_counter() - started, detail)


def definitions() -> list[Any]:
    """All objects that `feature_repo.definitions` names."""
    from feature_repo import definitions as named

    return [getattr(named, name) for name in named.__all__]


def stale_objects(store: Any, defined: list[Any]) -> list[Any]:
    """Registered objects that the definitions no longer name, services first: they refer to views."""
    keep = {(type(each).__name__, each.name) for each in defined}
    registered = [
        *store.list_feature_services(),
        *store.list_all_feature_views(),
        *store.list_data_sources(),
        *store.list_entities(),
    ]
    return [each for each in registered if (type(each).__name__, each.name) not in keep]
