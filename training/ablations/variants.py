"""The variants of an ablation: what each leaves out, or does in another way.

Columns of the ranker are named by patterns, so that a new column joins the group that its name says; columns
that no pattern takes are a group by their first word.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from bentos.candidates import SOURCES
from bentos.pool import APPEAL, PERSONAL
from feature_repo.pair_features import GROUPS
from training.ranking import NEGATIVES_PER_SHOPPER, Learning

WHOLE = "stack"
FEATURES, SOURCE, LEARNING, PAST = "features", "sources", "learning", "past and text"  # kinds, in this order
# Groups of the ranker's columns; the first pattern that a column matches takes it.
PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        "lifts": r"lift_",
        "scores": r"score_",
        "ranks": r"rank_",
        "shares": r"(pair_\w+|department)_share$",
        "group_days_since": r"pair_\w+s_days_since_last$",
        "group_counts": r"pair_\w+_items$",
        "timing": r"pair_(dueness|interval_|days_since_first|baskets_since)",
        "own_purchases": r"pair_",
        "user_numbers": r"user_|past_",
        "item_numbers": r"item_",
        "demand": r"\w+_popularity$",
    }
)
SHORT_HISTORY_WEEKS = 13


@dataclass(frozen=True)
class Material:
    """What a variant's pairs are drawn from; variants of equal material share their pairs."""

    inputs: frozenset[str] = frozenset()  # of the pool, that it is fitted without
    history_weeks: int | None = None  # purchases older than this are forgotten by shoppers; None: none is
    text: bool = True  # whether the towers read BERT's vectors


@dataclass(frozen=True)
class Variant:
    """The stack, but for what is named here."""

    name: str
    kind: str
    says: str  # what it is, for a person
    columns: frozenset[str] = frozenset()  # of the ranker, that it is trained without
    material: Material = field(default_factory=Material)
    learning: Learning = field(default_factory=Learning)
    negatives: int = NEGATIVES_PER_SHOPPER
    windows: int | None = None  # the latest that rankers learn from; None: all


def column_groups(columns: Sequence[str]) -> dict[str, frozenset[str]]:
    """The ranker's columns by group.

    >>> groups = column_groups(["score_pool", "item_mailer_share", "pair_types_share", "weather_rain"])
    >>> list(groups)
    ['scores', 'item_numbers', 'shares', 'weather']
    """
    groups: dict[str, set[str]] = {}
    for column in columns:
        known = (name for name, pattern in PATTERNS.items() if re.match(pattern, column))
        groups.setdefault(next(known, column.partition("_")[0]), set()).add(column)
    return {name: frozenset(held) for name, held in groups.items()}


def variants(columns: Sequence[str]) -> list[Variant]:
    """The whole stack first, then every variant: those that share its pairs before those that do not."""
    found = [Variant(WHOLE, "", "the whole stack")]
    for name, held in column_groups(columns).items():
        found.append(Variant(f"no_{name}", FEATURES, f"ranker without {name.replace('_', ' ')}", held))
    for source in SOURCES:
        if source in PERSONAL:
            continue  # the pool hears it too: `of_sources` takes it from both
        held = opinions_of(columns, source)
        says = f"ranker without score and rank of {source.replace('_', ' ')}"
        found.append(Variant(f"unheard_{source}", SOURCE, says, held))
    return [*found, *of_learning(), *of_sources(columns), *of_the_past()]


def opinions_of(columns: Sequence[str], source: str) -> frozenset[str]:
    """The ranker's columns that hold what one source thinks."""
    return frozenset(columns) & {f"score_{source}", f"rank_{source}"}


def of_learning() -> list[Variant]:
    """Rankers that learn in another way."""
    ndcg = Learning(objective="rank:ndcg", weighed=False)
    return [
        Variant("rank_ndcg", LEARNING, "objective rank:ndcg", learning=ndcg),
        Variant("unweighed", LEARNING, "rows weighed alike", learning=Learning(weighed=False)),
        Variant("negatives_20", LEARNING, "20 negatives a shopper", negatives=20),
        Variant("negatives_120", LEARNING, "120 negatives a shopper", negatives=120),
        Variant("windows_1", LEARNING, "one training window", windows=1),
    ]


def of_sources(columns: Sequence[str]) -> list[Variant]:
    """Stacks without a source: neither the pool nor the ranker hears it."""
    found = [
        Variant(
            f"no_{source}",
            SOURCE,
            f"{source.replace('_', ' ')} removed",
            opinions_of(columns, source),
            Material(inputs=frozenset({source})),
        )
        for source in PERSONAL
    ]
    groups = opinions_of(columns, "affinity") | {column for column in columns if column.startswith("lift_")}
    return [
        *found,
        Variant("no_groups", SOURCE, "affinity to groups removed", groups, Material(frozenset(GROUPS))),
        Variant("no_appeal", SOURCE, "pool without what sells", material=Material(inputs=frozenset(APPEAL))),
    ]


def of_the_past() -> list[Variant]:
    """Stacks that know less of the past, or read no text."""
    weeks = SHORT_HISTORY_WEEKS
    short, blind = Material(history_weeks=weeks), Material(text=False)
    return [
        Variant(f"history_{weeks}_weeks", PAST, f"only {weeks} weeks of history", material=short),
        Variant("no_bert", PAST, "towers without BERT's vectors", material=blind),
    ]


def chosen(found: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """The variants of some names, and always the whole stack; ValueError names those that there are."""
    known = [variant.name for variant in found]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"There is no variant {unknown[0]!r}; use {', '.join(known)}")
    return [variant for variant in found if not names or variant.name in {WHOLE, *names}]
