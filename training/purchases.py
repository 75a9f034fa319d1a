"""What retrieval learns from: first purchases, with shoppers and items as of the start of their week.

In: the tables and Feast's offline store. Out: `Examples`, rows of constant matrices, and the taste space that
was made of what shoppers had bought before any window of the ranker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.affinity import Raised, raised, shop_share
from bentos.factors import folded, gram
from bentos.text_vectors import TextVectors
from bentos.towers import KINDS, SALES, query_inputs
from feature_repo.pair_features import Floats, Groups, Positions
from training.factors import history_matrix, item_factors
from training.point_in_time import ItemRows, UserRows, entity_frame, item_rows, pair_frame, user_rows
from training.shoppers import shopper_at
from training.split import Split, Window
from training.taste_space import TasteSpace, taste_space
from training.world import World

if TYPE_CHECKING:
    from training.fit import Sources

FIT_WEEKS = 8  # how long retrieval learns with the same co-purchase factors
SPACE_WEEKS = 13  # the taste space is made of shoppers as of these weeks before the first window
SPACE_SHOPPERS = 3_000


@dataclass(frozen=True)
class Examples:
    """First purchases of an item, as rows of constant matrices.

    `queries` (n_queries, n_query_in), `query_tastes` (n_queries, n_taste) and `query_factors` (n_queries,
    n_factors) are shoppers as of a week; what they had bought by then are the `owned` items from
    `owned_from[query]` to `owned_from[query + 1]`. `text_vectors` (n_world, n_text) and `item_tastes`
    (n_world, n_taste) are constant in time, `item_numbers` (n_instants, n_world, n_numbers) and `log_sales`
    (n_instants, n_world, n_sales) are not, `item_factors` (n_fits, n_world, n_factors) change with `fit`
    (n_instants,). `query`, `item`, `instant` (n_examples,) point into them.
    """

    queries: Floats
    query_tastes: Floats
    query_factors: Floats
    owned: Positions
    owned_from: NDArray[np.int64]
    text_vectors: Floats
    item_tastes: Floats
    item_numbers: Floats
    log_sales: Floats
    item_factors: Floats
    fit: Positions
    query: Positions
    item: Positions
    instant: Positions

    def __len__(self) -> int:
        return len(self.query)


def log_sales(numbers: Floats, names: tuple[str, ...]) -> Floats:
    """Logs of one more than the items' baskets, (..., n_sales) in the order of SALES."""
    columns = [names.index(name) for name in SALES]
    return np.log1p(np.nan_to_num(numbers[..., columns])).astype(np.float32)


def world_groups(world: World) -> Groups:
    """Groups of the world's items."""
    return Groups(
        departments=world.departments.codes,
        categories=world.categories.codes,
        types=world.types.codes,
        manufacturers=world.manufacturers.codes,
        lines=world.lines,
        variants=world.variants,
    )


def week_factors(sources: "Sources", world: World, split: Split, threads: int) -> tuple[Floats, Positions]:
    """Item factors of the world as of every FIT_WEEKS-th week, and which of them each week has."""
    starts = [sources.calendar.start(week) for week in split.retrieval_weeks[::FIT_WEEKS]]
    everything = np.arange(len(world), dtype=np.int32)
    found = []
    for start in starts:
        frame = entity_frame("user_id", sources.warehouse.user_ids(start), [start])
        users = user_rows(sources.store, frame, world.item_ids.tolist())
        history = history_matrix(users, everything, len(world), start)
        found.append(item_factors(history, threads=threads))
    fit = np.arange(len(split.retrieval_weeks)) // FIT_WEEKS
    return np.stack(found), fit.astype(np.int32)


def sparse(rows: list[Raised], width: int) -> Any:
    """Rows of (columns, values) as a CSR matrix (n_rows, width)."""
    from scipy.sparse import csr_matrix

    starts = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows])])
    columns = np.concatenate([columns for columns, _ in rows])
    values = np.concatenate([values for _, values in rows])
    return csr_matrix((values, columns, starts), shape=(len(rows), width))


@dataclass(frozen=True)
class Queries:
    """Shoppers as of a week, as the towers read them; `lifted` are CSR (n_queries, n_groups) by kind."""

    inputs: Floats
    factors: Floats
    lifted: Mapping[str, Any]


def queries_of(
    world: World, users: UserRows, instants: Positions, items: ItemRows, factors: Floats, fit: Positions
) -> Queries:
    """The query tower's inputs of many shoppers, each as of their own instant (n_queries,)."""
    groups, grams = world_groups(world), [gram(each) for each in factors]
    text = TextVectors.rounded(world.text_vectors)
    baskets = items.numbers[..., items.names.index("item_baskets_91d")]
    shares = {kind: [shop_share(getattr(groups, kind), each) for each in baskets] for kind in KINDS}
    inputs, folds = [], np.zeros((len(users), factors.shape[2]), dtype=np.float32)
    lifts: dict[str, list[Raised]] = {kind: [] for kind in KINDS}
    for row, instant in enumerate(instants.tolist()):
        who = shopper_at(users, row, datetime.fromtimestamp(users.instants[row] / 1e6, tz=UTC))
        inputs.append(query_inputs(who, text, world.categories.codes, len(world.categories.names)))
        folds[row] = folded(who.past, factors[fit[instant]], grams[fit[instant]])
        for kind in KINDS:
            lifts[kind].append(raised(who.past, getattr(groups, kind), shares[kind][instant]))
    lifted = {kind: sparse(lifts[kind], len(shares[kind][0])) for kind in KINDS}
    return Queries(np.stack(inputs), folds, lifted)


def space_before(
    world: World, queries: Queries, instants: Positions, items: ItemRows, stage: int, dimensions: int
) -> TasteSpace:
    """The taste space of some shoppers of the weeks before the first `stage`, which later stages keep."""
    lately = np.flatnonzero((instants < stage) & (instants >= stage - SPACE_WEEKS))
    if not lately.size:
        raise ValueError("No purchases to learn retrieval from; choose a later cut or ingest more weeks")
    if len(lately) > SPACE_SHOPPERS:
        lately = np.sort(np.random.default_rng(0).choice(lately, SPACE_SHOPPERS, replace=False))
    lifted = {kind: matrix[lately] for kind, matrix in queries.lifted.items()}
    groups = {kind: getattr(world_groups(world), kind) for kind in KINDS}
    baskets = items.numbers[stage - 1, :, items.names.index("item_baskets_91d")]
    return taste_space(lifted, groups, baskets, dimensions)


def purchases_of(sources: "Sources", windows: Sequence[Window]) -> pd.DataFrame:
    """(user_id, item_id, instant) of some windows, `instant` the window's number among them."""
    each = [
        sources.warehouse.examples(window).assign(instant=number) for number, window in enumerate(windows)
    ]
    return pd.concat(each, ignore_index=True)


def new_to(users: UserRows, query: Positions, item: Positions, n_items: int) -> NDArray[np.bool_]:
    """Whether each item (n,) was never bought before by the shopper whose row is `query` (n,)."""
    rows = np.repeat(np.arange(len(users), dtype=np.int64), np.diff(users.offsets))
    held = users.positions >= 0
    owned = rows[held] * n_items + users.positions[held]
    return np.isin(query.astype(np.int64) * n_items + item, owned, invert=True)


SpaceOf = Callable[[Queries, Positions, ItemRows], TasteSpace]


def retrieval_examples(
    sources: "Sources", world: World, split: Split, *, dimensions: int, threads: int
) -> tuple[Examples, TasteSpace]:
    """First purchases of the retrieval weeks, and the taste space that they are told in."""
    calendar = sources.calendar
    weeks = [Window(week, week, calendar.start(week), calendar.end(week)) for week in split.retrieval_weeks]
    factors, fit = week_factors(sources, world, split, threads)

    def space_of(queries: Queries, instants: Positions, items: ItemRows) -> TasteSpace:
        return space_before(world, queries, instants, items, split.stages[0], dimensions)

    return examples_of(sources, world, weeks, factors, fit, space_of)


def examples_of(
    sources: "Sources",
    world: World,
    windows: Sequence[Window],
    factors: Floats,
    fit: Positions,
    space_of: SpaceOf,
) -> tuple[Examples, TasteSpace]:
    """First purchases of some windows, shoppers and items as of each one's instant; the space they are in.

    `factors` (n_fits, n_world, n_factors) change with `fit` (n_windows,). Somebody must have bought anything.
    """
    starts = tuple(window.instant for window in windows)
    bought = purchases_of(sources, windows)
    asked = bought[["user_id", "instant"]].drop_duplicates().sort_values(["instant", "user_id"])
    instants = asked["instant"].to_numpy(dtype=np.int32)
    frame = pair_frame("user_id", asked["user_id"].tolist(), pd.Series(list(starts))[instants])
    users = user_rows(sources.store, frame, world.item_ids.tolist())
    items = item_rows(sources.store, world.item_ids.tolist(), starts)
    queries = queries_of(world, users, instants, items, factors, fit)
    space = space_of(queries, instants, items)
    row_of = pd.Series(np.arange(len(asked), dtype=np.int32), index=pd.MultiIndex.from_frame(asked))
    query = row_of.loc[pd.MultiIndex.from_frame(bought[["user_id", "instant"]])].to_numpy(dtype=np.int32)
    item = np.searchsorted(world.item_ids, bought["item_id"].to_numpy(dtype=np.str_)).astype(np.int32)
    new = new_to(users, query, item, len(world))
    examples = Examples(
        queries=queries.inputs,
        query_tastes=np.asarray(sum(queries.lifted[kind] @ space.queries[kind] for kind in KINDS)),
        query_factors=queries.factors,
        owned=users.positions,
        owned_from=users.offsets,
        text_vectors=world.text_vectors,
        item_tastes=space.places({kind: getattr(world_groups(world), kind) for kind in KINDS}),
        item_numbers=np.log1p(np.maximum(np.nan_to_num(items.numbers), 0.0)).astype(np.float32),
        log_sales=log_sales(items.numbers, items.names),
        item_factors=factors,
        fit=fit,
        query=query[new],
        item=item[new],
        instant=bought["instant"].to_numpy(dtype=np.int32)[new],
    )
    return examples, space
