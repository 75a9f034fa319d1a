"""Embedding items: each text once, new texts only, and nothing lost when it is interrupted."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_files import first_part

from feature_repo.item_text import item_text
from feature_repo.settings import Settings
from jobs import embed_items

ROWS = [
    # item_id, title, category_1, available_from
    ("1", "Green Tea", "GROCERY", None),
    ("2", "GREEN TEA", "Grocery", datetime(2017, 3, 1, tzinfo=UTC)),
    ("3", "UNKNOWN", "UNKNOWN", None),
    ("4", "Crème 日本茶", None, datetime(2016, 5, 4, 3, 2, 1, 7, tzinfo=UTC)),
    ("5", "word " * 5_000, "x" * 5_000, None),
]


class FakeEncoder:
    """Turns a text into four numbers made of its bytes; keeps what it was asked; may break down."""

    precision = "float32"

    def __init__(self, breaks_at_call: int = 0) -> None:
        self.asked: list[list[str]] = []
        self.breaks_at_call = breaks_at_call

    def encode(self, texts: Sequence[str], advance: Callable[[int], object]) -> np.ndarray:
        """Vectors of `texts`; Ctrl-C at the call that was chosen."""
        self.asked.append(list(texts))
        if len(self.asked) == self.breaks_at_call:
            raise KeyboardInterrupt
        advance(len(texts))
        return np.stack([self.vector(text) for text in texts])

    @staticmethod
    def vector(text: str) -> np.ndarray:
        """Sum, first, last and number of the bytes."""
        raw = np.frombuffer(text.encode(), np.uint8).astype(np.float32)
        return np.array([raw.sum(), raw[0], raw[-1], len(raw)], np.float32)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation with the five items of ROWS."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=2)
    write_items(settings, ROWS)
    return settings


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """Stands in for BERT."""
    fake = FakeEncoder()
    monkeypatch.setattr(embed_items, "load_encoder", lambda *_, **__: fake)
    return fake


def write_items(settings: Settings, rows: list[tuple]) -> None:
    """Write an items table with `rows`."""
    ids, titles, departments, known = zip(*rows, strict=True)
    nothing = pa.nulls(len(rows), pa.string())
    table = pa.table({
        "item_id": ids, "title": titles, "category_1": pa.array(departments, pa.string()),
        "category_2": nothing, "category_3": nothing, "brand": nothing, "size": nothing,
        "available_from": pa.array(known, pa.timestamp("us", tz="UTC")),
    })  # fmt: skip
    pq.write_table(table, first_part(settings, "items"))


def written(settings: Settings) -> dict[str, dict]:
    """Rows of the feature table by item."""
    return {row["item_id"]: row for row in pq.read_table(settings.feature_table("item_text")).to_pylist()}


def test_every_item_gets_the_vector_of_its_text(settings: Settings, encoder: FakeEncoder):
    """Each item's row holds the vector of the text composed from its own columns."""
    result = embed_items.run(settings)
    rows = written(settings)
    assert result.rows == len(rows) == 5
    for item_id, title, department, _ in ROWS:
        expected = encoder.vector(item_text({"title": title, "category_1": department}))
        assert rows[item_id]["text_embedding"] == expected.tolist()


def test_each_text_is_encoded_once(settings: Settings, encoder: FakeEncoder):
    """Items 1 and 2 differ in capitals only and share one encoding."""
    assert "4 unique texts, 4 encoded" in str(embed_items.run(settings))
    (asked,) = encoder.asked
    assert len(asked) == len(set(asked)) == 4


def test_longest_texts_come_first(settings: Settings, encoder: FakeEncoder):
    """Work is sorted by length, so that a batch has little padding."""
    embed_items.run(settings)
    assert [len(text) for text in encoder.asked[0]] == sorted(map(len, encoder.asked[0]), reverse=True)


@pytest.mark.usefixtures("encoder")
def test_a_text_is_known_from_the_items_first_day(settings: Settings):
    """The event time is available_from, to the microsecond, or the epoch; both times are UTC microseconds."""
    before = datetime.now(UTC)
    embed_items.run(settings)
    rows = written(settings)
    assert [rows[str(n)]["event_timestamp"] for n in (1, 2, 4)] == [
        datetime(1970, 1, 1, tzinfo=UTC), ROWS[1][3], ROWS[3][3],
    ]  # fmt: skip
    assert all(before <= row["created_timestamp"] <= datetime.now(UTC) for row in rows.values())
    schema = pq.read_schema(settings.feature_table("item_text") / "part-0.parquet")
    assert schema.field("event_timestamp").type == schema.field("created_timestamp").type
    assert str(schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("text_embedding").type.value_type) == "float"


def test_a_second_run_encodes_only_new_and_changed_texts(settings: Settings, encoder: FakeEncoder):
    """Unchanged texts keep their vectors; a run with nothing new loads no model at all."""
    embed_items.run(settings)
    first = written(settings)
    embed_items.run(settings)
    assert len(encoder.asked) == 1
    write_items(settings, [("1", "Black Tea", "GROCERY", None), *ROWS[1:], ("6", "Jam", None, None)])
    embed_items.run(settings)
    assert encoder.asked[1:] == [["black tea, grocery", "jam"]]
    second = written(settings)
    assert all(second[n]["text_embedding"] == first[n]["text_embedding"] for n in "2345")
    assert second["1"]["text_embedding"] == encoder.vector("black tea, grocery").tolist()


def test_an_interrupted_run_goes_on_where_it_stopped(
    settings: Settings, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
):
    """Ctrl-C loses the chunk in work and writes no feature table; the next run encodes the rest."""
    monkeypatch.setattr(embed_items, "CHECKPOINT", 1)
    encoder.breaks_at_call = 3
    with pytest.raises(KeyboardInterrupt):
        embed_items.run(settings)
    assert not settings.feature_table("item_text").exists()
    embed_items.run(settings)
    first, second, lost, again, last = encoder.asked
    assert again == lost
    assert len({*first, *second, *again, *last}) == 4
    assert len(written(settings)) == 5


def test_another_model_keeps_vectors_of_its_own(
    settings: Settings, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
):
    """A changed fingerprint encodes all texts again and leaves the old vectors alone."""
    embed_items.run(settings)
    monkeypatch.setattr(embed_items, "fingerprint", lambda _: "another")
    embed_items.run(settings)
    assert encoder.asked[0] == encoder.asked[1]
    assert len(list((settings.state / "embeddings").iterdir())) == 2


@pytest.mark.usefixtures("encoder")
def test_rows_are_written_in_blocks(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """A table of several blocks holds the rows of a table of one."""
    embed_items.run(settings)
    whole = {item: row["text_embedding"] for item, row in written(settings).items()}
    monkeypatch.setattr(embed_items, "BLOCK", 2)
    embed_items.run(settings)
    path = settings.feature_table("item_text") / "part-0.parquet"
    assert pq.ParquetFile(path).num_row_groups == 3
    assert {item: row["text_embedding"] for item, row in written(settings).items()} == whole
    assert [file.name for file in path.parent.iterdir()] == ["part-0.parquet"]


def test_without_items_the_next_command_is_named(tmp_path: Path):
    """A missing items table says which command writes it."""
    with pytest.raises(FileNotFoundError, match="run `endcap ingest`"):
        embed_items.run(Settings(state=tmp_path, reports=tmp_path))


@pytest.mark.usefixtures("encoder")
def test_a_damaged_cache_file_is_named(settings: Settings):
    """A part that is no Parquet file is an error that says which file to delete."""
    embed_items.run(settings)
    (part,) = (settings.state / "embeddings").glob("*/*.parquet")
    part.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=f"Cannot read .*{part.name}; delete it"):
        embed_items.run(settings)


def test_any_bert_by_folder(settings: Settings, tmp_path: Path):
    """A random BERT with 16 dimensions, given by its folder, fills the table with vectors of length 1."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from jobs.text_encoder import model_folder

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tmp_path / "bert")
    AutoTokenizer.from_pretrained(str(model_folder())).save_pretrained(tmp_path / "bert")
    result = embed_items.run(settings, model=str(tmp_path / "bert"))
    vectors = np.array([row["text_embedding"] for row in written(settings).values()])
    assert "16 dimensions" in result.detail
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(5), atol=1e-5)


@pytest.mark.usefixtures("encoder")
def test_the_parts_of_a_cluster_go(settings: Settings) -> None:
    """A Spark cluster has left the table in several parts: afterwards each item stands there once."""
    embed_items.run(settings)
    folder = settings.feature_table("item_text")
    rows = pq.read_table(folder / "part-0.parquet")
    for number in range(2):
        pq.write_table(rows, folder / f"part-0000{number}-cluster.snappy.parquet")
    embed_items.run(settings)
    assert pq.read_table(folder)["item_id"].to_pylist() == rows["item_id"].to_pylist()
