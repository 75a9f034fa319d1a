"""How much memory views take on a Redis server, as the server itself says."""

from pathlib import Path

import pytest

from feature_repo.settings import FEATURE_STORE, Settings, SettingsError
from feature_repo.stores.packed import redis_sizes
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.row import pack

pytestmark = pytest.mark.gcp
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
COUNTS = Layout("counts", (("n", "INT64"),))


def test_sizes_are_what_the_server_says(redis_url, monkeypatch):
    """By view: rows, and bytes that are those of the rows and a little more."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", redis_url.removesuffix("0") + "5")
    settings = Settings(Path("state"), Path("reports"), feature_store=REDIS_YAML)
    rows, wide = open_rows(settings), Layout("wide", tuple((f"f{n:03d}", "DOUBLE") for n in range(100)))
    made = [(str(n), n, 0, pack(wide, dict.fromkeys(wide.names, 1.0), event_us=n)) for n in range(1, 20_001)]
    rows.write({"wide": made, "counts": []}, replace=True, layouts=[wide, COUNTS])
    (found,) = redis_sizes.view_sizes(rows)
    packed = sum(len(row) for *_, row in made)
    assert (found.view, found.rows) == ("wide", 20_000)
    assert packed < found.bytes < 1.2 * packed
    said = []
    redis_sizes.main(settings, say=said.append)
    assert said == [str(found)]
    rows.drop("wide")
    assert rows.views() == ["counts"]


def test_a_store_of_files_has_no_such_size(tmp_path):
    """The message names the variable that chooses the store."""
    with pytest.raises(SettingsError, match="names no Redis server; set ENDCAP_PROFILE=gcp"):
        redis_sizes.main(Settings(tmp_path, tmp_path))
