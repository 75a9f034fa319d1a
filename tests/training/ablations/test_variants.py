"""The list of variants: groups by name cover every column, and each variant leaves out what it says."""

from itertools import pairwise

import pytest

from bentos.pool import INPUTS
from bentos.scoring import matrix_columns
from training.ablations.variants import WHOLE, chosen, column_groups, variants

COLUMNS = matrix_columns(["user_baskets_28d", "user_tenure_days"], ["item_age_days", "item_mailer_share"])


def test_groups_part_the_columns():
    """Every column is in one group, and in one only."""
    groups = column_groups(COLUMNS)
    assert sorted(column for held in groups.values() for column in held) == sorted(COLUMNS)


def test_a_group_is_what_its_name_says():
    """Shares, days and counts of groups are told apart from the shopper's purchases of the very item."""
    groups = column_groups(COLUMNS)
    assert groups["own_purchases"] == {
        "pair_count", "pair_decayed_count", "pair_days_since_last",
    }  # fmt: skip
    assert groups["timing"] >= {"pair_dueness", "pair_interval_days", "pair_baskets_since_last"}
    assert {"pair_lines_share", "department_share"} <= groups["shares"]
    assert groups["group_days_since"] >= {"pair_types_days_since_last"}
    assert groups["item_numbers"] == {"item_age_days", "item_mailer_share"}
    assert groups["user_numbers"] >= {"user_tenure_days", "past_items"}


def test_a_column_of_a_new_kind_is_a_group_of_its_own():
    """Nothing is left out of the ablation because nobody thought of it."""
    assert column_groups([*COLUMNS, "weather_rain", "weather_sun"])["weather"] == {
        "weather_rain", "weather_sun",
    }  # fmt: skip


def test_variants_have_names_of_their_own_and_known_parts():
    """The whole stack leads and leaves nothing out; others leave out columns and inputs that there are."""
    found = variants(COLUMNS)
    assert found[0].name == WHOLE
    assert not found[0].columns
    assert len({variant.name for variant in found}) == len(found)
    assert len({variant.says for variant in found}) == len(found)
    parts = [
        (v.columns, v.material, v.negatives, v.windows, v.learning.rounds, v.learning.weighed,
         v.learning.objective)
        for v in found
    ]  # fmt: skip
    assert len(set(parts)) == len(found)
    for variant in found:
        assert variant.columns <= set(COLUMNS)
        assert variant.material.inputs <= set(INPUTS)


def test_a_source_is_taken_from_pool_and_ranker():
    """Neither the pool's input nor the ranker's columns of a removed source stay."""
    by_name = {variant.name: variant for variant in variants(COLUMNS)}
    assert by_name["no_two_tower"].columns == {"score_two_tower", "rank_two_tower"}
    assert by_name["no_two_tower"].material.inputs == {"two_tower"}


def test_variants_of_equal_material_stand_together():
    """So that pairs of one material are drawn once, whatever is chosen."""
    order = [variant.material for variant in variants(COLUMNS)]
    changes = sum(one != other for one, other in pairwise(order))
    assert changes == len(set(order)) - 1


def test_chosen_variants_are_held_against_the_whole():
    """The whole stack is always among them; an unknown name is refused with those that there are."""
    found = variants(COLUMNS)
    assert [variant.name for variant in chosen(found, ["no_lifts"])] == [WHOLE, "no_lifts"]
    assert chosen(found, []) == found
    with pytest.raises(ValueError, match=r"no variant 'no_luck'; use stack, .*rank_ndcg"):
        chosen(found, ["no_luck"])
