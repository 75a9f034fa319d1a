"""`endcap apply` makes the registry equal to the definitions: what is new, the same, changed or gone."""

import pytest
from feature_worlds import DAY, registry_content

from feature_repo import definitions as named
from feature_repo.settings import Settings
from feature_repo.store import open_store
from jobs import apply

VIEWS = ["item_coming_promotions", "item_stats", "item_text", "user_history", "user_stats"]
ALL = [getattr(named, name) for name in named.__all__]


@pytest.fixture
def settings(tmp_path):
    """An installation without any state, features included."""
    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)


def names(settings):
    """Registered names by kind, Feast's own __dummy left out."""
    content = registry_content(settings.registry)
    kinds = ("entities", "dataSources", "featureViews", "featureServices")
    found = {kind: [each.get("name") or each["spec"]["name"] for each in content[kind]] for kind in kinds}
    return {kind: [name for name in names if not name.startswith("__")] for kind, names in found.items()}


def test_all_definitions_are_registered(settings):
    """Entities, sources, views and services by name; before any feature row exists."""
    result = apply.run(settings)
    assert names(settings) == {
        "entities": ["item", "user"],
        "dataSources": VIEWS,
        "featureViews": VIEWS,
        "featureServices": ["item_promotions", "item_ranking", "item_retrieval", "user_ranking"],
    }
    views = [each for each in ALL if type(each).__name__ == "FeatureView"]
    assert result.rows == sum(len(view.features) for view in views)
    assert (result.where, result.detail) == (settings.registry, "5 views, 4 services")
    assert [path.name for path in sorted(settings.state.iterdir())] == ["online_store.db", "registry.db"]


def test_applied_twice_nothing_changes(settings):
    """A second run leaves every object as it was, the time of its creation included."""
    apply.run(settings)
    first, store = registry_content(settings.registry, times=True), settings.online_store.read_bytes()
    assert "deleted" not in apply.run(settings).detail
    assert registry_content(settings.registry, times=True) == first
    assert settings.online_store.read_bytes() == store


def test_what_is_no_longer_named_is_deleted(settings, monkeypatch):
    """A view that leaves the definitions takes its source and service along; named again, it is back."""
    apply.run(settings)
    whole = registry_content(settings.registry)
    gone = {named.item_text, named.item_text_source, named.item_retrieval}
    monkeypatch.setattr(
        named, "__all__", [name for name in named.__all__ if getattr(named, name) not in gone]
    )
    assert apply.run(settings).detail == "4 views, 3 services, deleted item_retrieval, item_text, item_text"
    assert names(settings) == {
        "entities": ["item", "user"],
        "dataSources": [name for name in VIEWS if name != "item_text"],
        "featureViews": [name for name in VIEWS if name != "item_text"],
        "featureServices": ["item_promotions", "item_ranking", "user_ranking"],
    }
    monkeypatch.undo()
    apply.run(settings)
    assert registry_content(settings.registry) == whole


def test_a_changed_definition_is_changed(settings, monkeypatch):
    """Another time to live of a view reaches the registry, and no other object changes."""
    apply.run(settings)
    before = registry_content(settings.registry)
    monkeypatch.setattr(named.item_stats, "ttl", 3 * DAY)
    apply.run(settings)
    after = registry_content(settings.registry)
    assert open_store(settings).get_feature_view("item_stats").ttl == 3 * DAY
    changed = [view for view in after["featureViews"] if view not in before["featureViews"]]
    assert [view["spec"]["name"] for view in changed] == ["item_stats"]
    assert after["entities"] == before["entities"]


def test_stale_objects_name_services_first(settings):
    """Services are deleted before the views that they refer to, then sources, then entities."""
    apply.run(settings)
    store = open_store(settings)
    assert apply.stale_objects(store, ALL) == []
    kinds = [type(each).__name__ for each in apply.stale_objects(store, [])]
    order = ["FeatureService"] * 4 + ["FeatureView"] * 5 + ["FileSource"] * 5 + ["Entity"] * 2
    assert [kind for kind in kinds if kind in order] == order
