"""Where the rows of a source lie: one file, a folder of parts, or a pattern, below the state folder."""

import pytest
from feast import FileSource
from feast.data_format import DeltaFormat, ParquetFormat
from feast.infra.offline_stores.bigquery_source import BigQuerySource

from feature_repo.features.sources import item_text_source, user_stats_source
from feature_repo.stores.parquet_parts import FeatureTableError, parquet_parts

NAMES = ["part-10.parquet", "part-2.parquet", "_aside.parquet", ".hidden.parquet", "_SUCCESS", "notes.txt"]


@pytest.fixture
def state(tmp_path):
    """A state folder with one feature table: two parts, the writer's marks, and a folder of its own."""
    folder = tmp_path / "features" / "price"
    (folder / "old").mkdir(parents=True)
    for name in (*NAMES, "old/part-1.parquet"):
        (folder / name).touch()
    return tmp_path


def source(path, **options):
    """A source at a path."""
    return FileSource(name="price", path=str(path), timestamp_field="event_timestamp", **options)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("features/price", ["part-10.parquet", "part-2.parquet"]),
        ("features/price/", ["part-10.parquet", "part-2.parquet"]),
        ("features/price/part-1*.parquet", ["part-10.parquet"]),
        ("features/price/*", ["notes.txt", "old", "part-10.parquet", "part-2.parquet"]),
        ("features/price/part-2.parquet", ["part-2.parquet"]),
    ],
)
def test_parts_in_their_order(state, path, parts):
    """Parts come sorted by name; marks, other files of a folder and folders below it are none."""
    expected = tuple(str(state / "features" / "price" / part) for part in parts)
    assert parquet_parts(source(path), str(state)) == expected
    assert parquet_parts(source(state / path)) == expected


def test_the_state_folder_is_that_of_the_environment(state, monkeypatch):
    """Without a state folder, that of the settings counts."""
    monkeypatch.setenv("ENDCAP_STATE", str(state))
    assert len(parquet_parts(source("features/price", file_format=ParquetFormat()))) == 2


@pytest.mark.parametrize(
    "path", ["features/none", "features/price/none.parquet", "features/price/none*", "features"]
)
def test_no_parts_name_the_command(state, path):
    """An error says where rows were expected and what writes them."""
    with pytest.raises(
        FeatureTableError, match=r"No feature table in .*features.*; run `endcap build-features`"
    ):
        parquet_parts(source(path), str(state))


@pytest.mark.parametrize(
    ("of_ours", "command"),
    [(user_stats_source, "endcap build-features"), (item_text_source, "endcap embed-items")],
)
def test_sources_of_ours_name_their_own_command(tmp_path, of_ours, command):
    """Each source says which command writes its rows."""
    with pytest.raises(FeatureTableError, match=f"{of_ours.name}; run `{command}`"):
        parquet_parts(of_ours, str(tmp_path))


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (source("features/price", file_format=DeltaFormat()), "delta"),
        (BigQuerySource(name="price", table="a.b.c", timestamp_field="event_timestamp"), "BigQuerySource"),
    ],
)
def test_other_sources_are_refused(state, other, kind):
    """A source that is no Parquet is named with what it is."""
    with pytest.raises(ValueError, match=f"Source 'price' is {kind}; this store reads Parquet"):
        parquet_parts(other, str(state))
