"""Rule files: what YAML makes of them, and what a release has to say to them."""

from pathlib import Path

import pytest
import yaml

from bentos.rule_file import checked_against, hash_of, load_rules
from bentos.rule_parameters import RulesError, checked_rules
from bentos.yaml_file import LIMIT


def written(folder, text):
    """A rule file with that text."""
    path = folder / "rules.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("blocked: [", "cannot be read as rules: "),
        ("blocked:\n  item_ids: [1]\n  item_ids: [2]\n", "'item_ids' stands there twice in line 3"),
        ("diversity:\ndiversity:\n", "'diversity' stands there twice in line 2"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (b"\xff\xfe\x00", "cannot be read as rules: "),
        ("diversity: {departments: 2}\n---\ndiversity:\n", "another document"),
        ("? [a]\n: 1\n", "a key is no name in line 1"),
        ("# " + "x" * LIMIT, f"has more than {LIMIT:,} bytes"),
        ("", "must be a mapping"),
        ("[" * 20_000, "more than 50 levels in one another in line 1"),
        ("- " * 20_000, "more than 50 levels in one another in line 1"),
        ("blocked: {item_ids: [2024-13-45]}", "month must be in 1..12"),
        ("blocked: {item_ids: [0x_]}", "invalid literal"),
        ("blocked: {item_ids: [" + "9" * 5_000 + "]}", "limit"),
        ("blocked: !!timestamp x", "cannot be read as rules: "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, text, says):
    """With what is wrong and, where YAML knows it, in which line."""
    with pytest.raises(RulesError) as refused:
        load_rules(written(tmp_path, text))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    """Neither can be read."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RulesError, match="cannot be read as rules"):
            load_rules(path)


def test_ids_keep_their_zeros(tmp_path):
    """YAML 1.1 takes 0012 for ten, 1_0 for ten and 1:30 for ninety; here they are what they look like."""
    text = "blocked: {item_ids: [0012, 1_0, 1:30, 0x1F, 12, '12', -3]}\n"
    assert yaml.safe_load(text)["blocked"]["item_ids"][:3] == [10, 10, 90]
    found = load_rules(written(tmp_path, text))
    assert found["blocked"]["item_ids"] == ["0012", "1_0", "1:30", "0x1F", "12", "12", "-3"]


@pytest.mark.parametrize("value", ["2024-01-01", "yes", "1.5", "~"])
def test_what_yaml_takes_for_something_else_asks_for_quotes(tmp_path, value):
    """A date, a truth, a fraction and nothing are no ids."""
    with pytest.raises(RulesError, match="in quotes where YAML"):
        load_rules(written(tmp_path, f"blocked: {{item_ids: [{value}]}}\n"))
    assert load_rules(written(tmp_path, f"blocked: {{item_ids: ['{value}']}}\n"))


@pytest.mark.parametrize("rule", ["blocked", "promotion_boost", "minimum_margin"])
def test_an_unknown_department_is_refused_with_its_likes(release, rule):
    """North and south are known: nroth is told to be north."""
    named = {"nroth": 0.1} if rule == "minimum_margin" else ["nroth"]
    with pytest.raises(RulesError, match=rf"{rule}\.departments has 'nroth'; use one like 'north'"):
        checked_against(checked_rules({rule: {"departments": named}}), release.catalogue, [])
    with pytest.raises(RulesError, match="has 'zzz'; use 'north', 'south'"):
        checked_against(checked_rules({"blocked": {"departments": ["zzz"]}}), release.catalogue, [])


def test_unknown_items_are_counted(release):
    """Catalogues change by the week: items that the release lacks are warned of, not refused."""
    rules = checked_rules(
        {
            "blocked": {"item_ids": ["i01", "gone", 7], "departments": ["north"]},
            "minimum_margin": {"item_ids": {"i01": 0.1}},
            "promotion_boost": {"boost": 1, "share": 1, "featured": True},
            "diversity": {"departments": 2},
        }
    )
    assert checked_against(rules, release.catalogue, ["item_mailer_share"]) == [
        "blocked.item_ids has 2 of 3 not in the release"
    ]
    assert checked_against(rules, release.catalogue, [])[1:] == [
        "promotion_boost.featured does nothing: the release reads no promotions"
    ]


def test_the_hash_is_that_of_the_meaning(tmp_path):
    """Layout, remarks and the order of keys do not count, values do."""
    texts = [
        "diversity: {departments: 2}\nblocked: {item_ids: [7]}\n",
        "# two\nblocked:\n  item_ids:\n  - '7'\ndiversity:\n  departments: 2\n",
        "blocked: {item_ids: [8]}\ndiversity: {departments: 2}\n",
    ]
    hashes = [hash_of(load_rules(written(Path(tmp_path), text))) for text in texts]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 12
