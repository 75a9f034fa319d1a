"""Ingest writes the contract's tables, counts every row that it does not write as it came, all or nothing."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TABLES
from jobs.ingest import Summary, ingest, run
from jobs.sources import IngestError, complete_journey, open_source
from jobs.sources.complete_journey import CATEGORIES_LEFT_OUT, DEPARTMENTS_LEFT_OUT, CompleteJourney
from jobs.sources.synthetic import Synthetic, World

NOW = datetime(2024, 6, 1, tzinfo=UTC)
ARROW_TYPES = {"VARCHAR": pa.string(), "JSON": pa.string(), "DOUBLE": pa.float64(),
               "TIMESTAMPTZ": pa.timestamp("us", tz="UTC")}  # fmt: skip
LINE = {"user_id": "u1", "item_id": "i1", "event_timestamp": "2024-05-01 10:00:00", "basket_id": "b1",
        "quantity": 1.0, "price_paid": 2.5, "discount": 0.5, "store_id": "s1"}  # fmt: skip
ITEM = {"item_id": "i1", "title": "Tea", "category_1": "Drinks", "category_2": "Hot", "category_3": "Tea"}
PROMOTION = {"item_id": "i1", "kind": "mailer", "starts_at": "2024-05-01", "ends_at": "2024-05-08",
             "announced_at": None, "store_share": 0.5}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An installation of its own."""
    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=2)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder source with one sound row a table."""
    folder = tmp_path / "shop"
    folder.mkdir()
    write(folder, transactions=[LINE], items=[ITEM])
    return folder


def write(folder: Path, **tables: list[dict[str, Any]]) -> None:
    """Parquet files of a folder source; a column's type is whatever its values are."""
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


def take(folder: Path, settings: Settings) -> Summary:
    """Ingest a folder as of `NOW`."""
    return ingest(open_source(f"folder:{folder}"), settings, now=NOW)


def read(settings: Settings, table: str) -> pd.DataFrame:
    """A written table."""
    return pd.read_parquet(settings.table(table))


def contents(settings: Settings) -> dict[str, bytes]:
    """All files of the tables by name."""
    folder = settings.state / "tables"
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def counts(summary: Summary, table: str) -> dict[tuple[str, str], int]:
    """Rows by (action, reason)."""
    return {(rule.action, rule.reason): rule.rows for rule in summary.table(table).rules}


def assert_sound(settings: Settings, summary: Summary) -> None:
    """What holds for every ingest: types, order, unique keys, no nulls, and an even balance of rows."""
    for name, table in TABLES.items():
        schema = pq.read_schema(settings.table(name))
        assert {field.name: field.type for field in schema} == {
            c.name: ARROW_TYPES[c.type] for c in table.columns
        }
        frame = read(settings, name)
        assert not frame.duplicated(list(table.key)).any()
        assert not frame[list(table.required_columns)].isna().any().any()
        count = summary.table(name)
        gone = count.rows("refused") + count.rows("left out") + count.rows("merged")
        assert count.read - gone + count.rows("added") == count.written == len(frame)
    times = read(settings, "transactions")[["event_timestamp", "user_id"]]
    assert times.equals(times.sort_values(["event_timestamp", "user_id"], kind="stable"))
    assert json.loads((settings.state / "tables" / "ingest.json").read_text()) == summary.record()
    assert not (settings.state / "tables" / ".aside").exists()


# ---- Whole sources


@pytest.fixture(scope="module")
def grocer(tmp_path_factory) -> tuple[Settings, Summary]:
    """One household in fifty of Complete Journey, and the promotions of two weeks."""
    folder, raw = tmp_path_factory.mktemp("grocer"), complete_journey.installed()
    with duckdb.connect() as con:
        for name in complete_journey.FILES:
            rows = "week IN (10, 40)" if name == "promotions" else "true"
            con.execute(f"COPY (FROM '{raw}/{name}.parquet' WHERE {rows}) TO '{folder}/{name}.parquet'")
    settings = Settings(state=folder / "state", reports=folder / "reports", threads=2)
    return settings, ingest(CompleteJourney(folder, share=0.02), settings)


def test_real_grocer_is_sound(grocer: tuple[Settings, Summary]):
    """Types, keys, order and the balance of rows of the real data."""
    assert_sound(*grocer)
    assert ShopCalendar.load(grocer[0].shop_calendar) == complete_journey.CALENDAR


def test_real_transactions_are_those_of_pandas(grocer: tuple[Settings, Summary]):
    """The written lines are the raw lines of those households less what is no product, to the microsecond."""
    settings, summary = grocer
    raw, ours = complete_journey.installed(), read(settings, "transactions")
    products = pd.read_parquet(raw / "products.parquet")
    not_sold = products.department.isin(DEPARTMENTS_LEFT_OUT) | products.product_category.isin(
        CATEGORIES_LEFT_OUT
    )
    lines = pd.read_parquet(raw / "transactions.parquet")
    lines = lines[lines.household_id.isin(ours.user_id.astype(int))]
    kept = lines[~lines.product_id.isin(products.product_id[not_sold])]
    assert summary.table("transactions").rows("left out") == len(lines) - len(kept) > 0
    assert summary.table("transactions").rows("kept") == (kept.quantity <= 0).sum() > 0
    kept = kept.set_index(
        [kept.household_id.astype(str), kept.basket_id.astype(str), kept.product_id.astype(str)]
    )
    ours = ours.set_index(["user_id", "basket_id", "item_id"]).loc[kept.index]
    assert (ours.event_timestamp.dt.tz_localize(None).array == kept.transaction_timestamp.array).all()
    assert (ours.quantity.array == kept.quantity.array).all()
    assert set(read(settings, "users").user_id) == set(kept.household_id.astype(str))


def test_products_that_are_not_described_get_a_row(grocer: tuple[Settings, Summary]):
    """Every item of a line or a promotion is among the items; unknown ones are called so."""
    settings, summary = grocer
    items = read(settings, "items").set_index("item_id")
    assert set(read(settings, "transactions").item_id) <= set(items.index)
    assert set(read(settings, "promotions").item_id) <= set(items.index)
    unknown = items[items.category_1 == "UNKNOWN"]
    assert len(unknown) == summary.table("items").rows("added") > 0
    assert (unknown.title == "Unknown product " + unknown.index).all()


def test_demographics_are_json_or_nothing(grocer: tuple[Settings, Summary]):
    """Households that filled in the form have attributes, the others have a row without."""
    users = read(grocer[0], "users").set_index("user_id").attributes
    raw = pd.read_parquet(complete_journey.installed() / "demographics.parquet").astype({"household_id": str})
    known = raw[raw.household_id.isin(users.index)].set_index("household_id")
    assert set(users.dropna().index) == set(known.index)
    assert all(json.loads(users[user])["age"] == row.age for user, row in known.iterrows())


def test_synthetic_shop_arrives_unchanged(settings: Settings):
    """Nothing is refused, merged or changed in a shop that obeys the contract."""
    summary = ingest(Synthetic(World(users=20, weeks=5)), settings)
    assert_sound(settings, summary)
    assert {rule.action for table in summary.tables for rule in table.rules} == {"kept"}
    assert summary.recorded
    assert read(settings, "promotions").announced_at.notna().all()


def test_run_reports_what_the_summary_says(settings: Settings):
    """The verb's result has the number of transactions, and the summary as notes; twice gives equal files."""
    result = run(settings, "synthetic", scale=0.1)
    first = contents(settings)
    assert result.rows == len(read(settings, "transactions"))
    assert result.notes[0].startswith("source synthetic, recorded, 2024-01-01")
    assert any(note.startswith("promotions") for note in result.notes)
    run(settings, "synthetic", scale=0.1)
    assert contents(settings) == first


# ---- Rows


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_id": None}, "user_id is missing"),
        ({"user_id": " \n"}, "user_id is blank"),
        ({"item_id": None}, "item_id is missing"),
        ({"event_timestamp": "yesterday"}, "event_timestamp cannot be read as TIMESTAMPTZ"),
        ({"event_timestamp": "1970-01-01"}, "event_timestamp is before 1990"),
        ({"event_timestamp": "2024-06-02"}, "event_timestamp is in the future"),
        ({"event_timestamp": "9999-12-31"}, "event_timestamp is in the future"),
        ({"event_timestamp": "infinity"}, "event_timestamp is not a date"),
        ({"price_paid": math.nan}, "price_paid is not a finite number"),
        ({"price_paid": math.inf}, "price_paid is not a finite number"),
        ({"quantity": None}, "quantity is missing"),
    ],
)
def test_unusable_lines_are_refused_and_counted(
    shop: Path, settings: Settings, wrong: dict[str, Any], reason: str
):
    """The sound line beside it is written; the count stands under the reason."""
    write(shop, transactions=[LINE, LINE | {"basket_id": "b2"} | wrong])
    summary = take(shop, settings)
    assert_sound(settings, summary)
    assert counts(summary, "transactions") == {("refused", reason): 1}
    assert list(read(settings, "transactions").basket_id) == ["b1"]
    assert f"           1 refused: {reason}" in str(summary)


@pytest.mark.parametrize(
    ("wrong", "reason", "column", "value"),
    [
        ({"discount": -0.5}, "negative discount made positive", "discount", 0.5),
        ({"price_paid": -1.0}, "negative price of a purchase raised to 0", "price_paid", 0.0),
        ({"basket_id": None}, "basket_id composed from user and time", "basket_id", "u2@1714557600000000"),
    ],
)
def test_lines_are_changed_and_counted(shop: Path, settings: Settings, wrong, reason, column, value):
    """What can be mended is mended, and says so."""
    write(shop, transactions=[LINE, LINE | {"user_id": "u2"} | wrong])
    summary = take(shop, settings)
    assert counts(summary, "transactions") == {("changed", reason): 1}
    assert read(settings, "transactions").set_index("user_id")[column]["u2"] == value


def test_shop_without_basket_ids_gets_them(shop: Path, settings: Settings):
    """Lines of one user and instant share a basket."""
    lines = [
        {key: value for key, value in LINE.items() if key != "basket_id"} | {"item_id": item}
        for item in "abc"
    ]
    write(shop, transactions=lines)
    take(shop, settings)
    assert set(read(settings, "transactions").basket_id) == {"u1@1714557600000000"}


def test_returns_are_kept_as_they_are(shop: Path, settings: Settings):
    """Negative and zero quantities are written, with their negative price, and counted."""
    back = {"basket_id": "b2", "quantity": -1.0, "price_paid": -2.5}
    write(shop, transactions=[LINE, LINE | back, LINE | {"basket_id": "b3", "quantity": 0.0}])
    summary = take(shop, settings)
    assert counts(summary, "transactions") == {
        ("kept", "return or void (quantity 0 or less), no purchase"): 2
    }
    assert sorted(read(settings, "transactions").price_paid) == [-2.5, 2.5, 2.5]


def test_repeated_lines_become_one(shop: Path, settings: Settings):
    """An equal row counts once; rows of one basket and item are summed, at the later time."""
    later = LINE | {"event_timestamp": "2024-05-01 10:05:00", "quantity": 2.0, "price_paid": 5.0}
    write(shop, transactions=[LINE, LINE, LINE, later])
    summary = take(shop, settings)
    assert_sound(settings, summary)
    assert counts(summary, "transactions") == {
        ("merged", "exactly the same row"): 2,
        ("merged", "same user_id, basket_id, item_id: summed"): 1,
    }
    row = read(settings, "transactions").iloc[0]
    assert (row.quantity, row.price_paid, row.discount) == (3.0, 7.5, 1.0)
    assert row.event_timestamp == pd.Timestamp("2024-05-01 10:05", tz="UTC")


def test_repeated_promotions_are_never_known_too_early(shop: Path, settings: Settings):
    """The widest of equal keys is kept; one without announcement makes the whole unannounced."""
    early = PROMOTION | {"announced_at": "2024-04-01", "store_share": 0.2}
    write(shop, promotions=[PROMOTION, early, early | {"kind": "display"}])
    summary = take(shop, settings)
    assert_sound(settings, summary)
    ours = read(settings, "promotions").set_index("kind")
    assert pd.isna(ours.announced_at["mailer"])
    assert ours.announced_at["display"] == pd.Timestamp("2024-04-01", tz="UTC")
    assert ours.store_share["mailer"] == 0.5


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"kind": "radio"}, "kind is neither mailer nor display"),
        ({"ends_at": "2024-05-01"}, "ends_at is not after starts_at"),
        ({"store_share": 1.5}, "store_share is not between 0 and 1"),
        ({"store_share": math.nan}, "store_share is not a finite number"),
        ({"item_id": "nobody's"}, "item_id is not among the items"),
    ],
)
def test_unusable_promotions_are_refused(shop: Path, settings: Settings, wrong: dict[str, Any], reason: str):
    """Each broken promotion is counted under its reason; one planned for next year is not broken."""
    planned = PROMOTION | {"starts_at": "2025-05-01", "ends_at": "2025-05-08"}
    write(shop, promotions=[planned, PROMOTION | wrong])
    summary = take(shop, settings)
    assert_sound(settings, summary)
    assert counts(summary, "promotions") == {("refused", reason): 1}


def test_items_are_filled_from_the_wider_level(shop: Path, settings: Settings):
    """A missing category is the one above it; a missing title is the narrowest category."""
    known = {"category_1": "Drinks", "title": None, "category_2": None, "category_3": " "}
    write(shop, items=[ITEM, known | {"item_id": "i2"}, known | {"item_id": "i3", "category_1": None}])
    summary = take(shop, settings)
    assert_sound(settings, summary)
    items = read(settings, "items").set_index("item_id")[["title", "category_2", "category_3"]]
    assert list(items.loc["i2"]) == ["Drinks", "Drinks", "Drinks"]
    assert list(items.loc["i3"]) == ["Unknown product i3", "UNKNOWN", "UNKNOWN"]
    assert counts(summary, "items")["changed", "category_2 filled from category_1"] == 2


def test_what_is_no_product_is_left_out_everywhere(shop: Path, settings: Settings):
    """Lines and promotions of such items are counted as left out, not as refused."""
    items = [ITEM | {"is_product": True}, ITEM | {"item_id": "fuel", "is_product": False}]
    write(shop, items=items, transactions=[LINE, LINE | {"item_id": "fuel"}],
          promotions=[PROMOTION | {"item_id": "fuel"}])  # fmt: skip
    summary = take(shop, settings)
    assert_sound(settings, summary)
    for table in ("items", "transactions", "promotions"):
        assert counts(summary, table) == {("left out", "not a product"): 1}


def test_hostile_ids_survive(shop: Path, settings: Settings):
    """Quotes, other scripts, line breaks and SQL in ids are text like any other."""
    ids = [
        "Wendy's",
        '"; DROP TABLE items; --',
        "Straße 🛒",
        "two\nlines",
        "tab\there",
        "a" * 10_000,
        "0017",
        "NULL",
    ]
    write(shop, transactions=[LINE | {"user_id": text, "item_id": text, "basket_id": text} for text in ids],
          items=[ITEM | {"item_id": text} for text in ids])  # fmt: skip
    summary = take(shop, settings)
    assert_sound(settings, summary)
    for table, column in (("transactions", "user_id"), ("items", "item_id"), ("users", "user_id")):
        assert sorted(read(settings, table)[column]) == sorted(ids)


def test_numbers_as_ids_lose_nothing(shop: Path, settings: Settings):
    """Whole numbers, also pandas' 17.0, are written without a fraction; NaN is refused."""
    write(shop, transactions=[LINE | {"user_id": 17.0, "item_id": 9_007_199_254_740_993},
                              LINE | {"user_id": math.nan, "item_id": 5}])  # fmt: skip
    summary = take(shop, settings)
    row = read(settings, "transactions").iloc[0]
    assert (row.user_id, row.item_id) == ("17", "9007199254740993")
    assert counts(summary, "transactions") == {("refused", "user_id cannot be read"): 1}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_any_timestamp_becomes_microseconds_in_utc(
    shop: Path, settings: Settings, unit: str, zone: str | None
):
    """The instant stays the same, whatever the file's precision and zone; without a zone it is UTC."""
    instant = pd.Timestamp("2024-05-01 10:00:01", tz="UTC")
    table = pa.Table.from_pylist([LINE])
    times = pa.array([int(instant.timestamp())]).cast(pa.timestamp("s")).cast(pa.timestamp(unit, tz=zone))
    table = table.set_column(2, "event_timestamp", times)
    pq.write_table(table, shop / "transactions.parquet")
    assert_sound(settings, take(shop, settings))
    assert read(settings, "transactions").event_timestamp[0] == instant


def test_attributes_that_are_no_json_are_left_empty(shop: Path, settings: Settings):
    """A user keeps the row; users who only bought get one."""
    write(
        shop, users=[{"user_id": "u8", "attributes": '{"age": 30}'}, {"user_id": "u9", "attributes": "{age"}]
    )
    summary = take(shop, settings)
    assert_sound(settings, summary)
    assert counts(summary, "users") == {
        ("changed", "attributes are no JSON, left empty"): 1,
        ("added", "bought, but not among the users"): 1,
    }
    assert read(settings, "users").attributes.notna().sum() == 1


# ---- Tables that cannot be had


@pytest.mark.parametrize("table", ["transactions", "items"])
def test_missing_column_names_table_file_and_column(shop: Path, settings: Settings, table: str):
    """The message lists what the file has instead."""
    row = {"transactions": LINE, "items": ITEM}[table]
    write(
        shop, **{table: [{key: value for key, value in row.items() if key != "item_id"} | {"article": "1"}]}
    )
    with pytest.raises(
        IngestError, match=f"Table {table} lacks column item_id: .*{table}.parquet has .*article; add"
    ):
        take(shop, settings)


def test_broken_or_missing_parquet_names_the_file(shop: Path, settings: Settings):
    """Half a file, no Parquet at all, and no file."""
    path = shop / "items.parquet"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"item_id,title\n1,Tea\n", b""):
        path.write_bytes(content)
        with pytest.raises(IngestError, match=r"Table items cannot be read from .*items.parquet: .*; export"):
            take(shop, settings)
    path.unlink()
    with pytest.raises(
        IngestError, match=r"Table items cannot be read from .*items.parquet: .*No files found"
    ):
        take(shop, settings)


def test_damaged_pages_are_found_too(shop: Path, settings: Settings):
    """A file whose footer is whole but whose pages are not."""
    write(shop, transactions=[LINE | {"basket_id": f"b{n}"} for n in range(5000)])
    path = shop / "transactions.parquet"
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with pytest.raises(IngestError, match=r"Table transactions cannot be read from .*transactions.parquet"):
        take(shop, settings)


def test_empty_table_says_so(shop: Path, settings: Settings):
    """A file without rows is an error, unless the table is optional."""
    pq.write_table(pa.Table.from_pylist([PROMOTION]).slice(0, 0), shop / "promotions.parquet")
    assert take(shop, settings).table("promotions").written == 0
    pq.write_table(pa.Table.from_pylist([LINE]).slice(0, 0), shop / "transactions.parquet")
    with pytest.raises(IngestError, match=r"Table transactions is empty: .*transactions.parquet has no rows"):
        take(shop, settings)


def test_table_without_a_usable_row_says_why(shop: Path, settings: Settings):
    """A column of the wrong type refuses all rows; the error gives the reason and the number."""
    write(shop, transactions=[LINE | {"event_timestamp": 1_714_557_600 + n} for n in range(3)])
    (shop / "calendar.json").write_text('{"timezone": "UTC", "first_day": "2024-01-01"}')
    with pytest.raises(
        IngestError, match=r"transactions has no row left .*3 refused: event_timestamp cannot be read"
    ):
        take(shop, settings)


def test_failed_ingest_leaves_the_old_tables(shop: Path, settings: Settings):
    """All or nothing: after an error the files are those of the last good ingest, and nothing lies about."""
    take(shop, settings)
    before = contents(settings)
    tables = {f"{name}/base.parquet" for name in ("transactions", "items", "users", "promotions")}
    assert set(before) == {*tables, "calendar.json", "ingest.json"}
    write(shop, transactions=[LINE | {"user_id": None}])
    with pytest.raises(IngestError):
        take(shop, settings)
    assert contents(settings) == before


def test_interrupted_ingest_is_cleaned_up(shop: Path, settings: Settings):
    """What a killed ingest left aside does not reach the tables."""
    aside = settings.state / "tables" / ".aside"
    aside.mkdir(parents=True)
    (aside / "items.parquet").write_text("half")
    assert_sound(settings, take(shop, settings))
