"""Texts of items: readable, free of repetition, and never empty whatever the shop's columns hold."""

import doctest

import pytest

from feature_repo import item_text as module
from feature_repo.item_text import MAX_WORDS, NAMELESS, SHORTHAND, TEXT_COLUMNS, item_text, item_texts, words


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_title_leads_and_columns_add_only_new_words():
    """A shop's own title comes first; categories add the words that it lacks."""
    text = item_text({
        "title": "Honey Oat Kids Cereal", "category_3": "KIDS CEREAL", "category_2": "COLD CEREAL",
        "category_1": "GROCERY", "brand": "Private", "size": "14.5 OZ",
    })  # fmt: skip
    assert text == "honey oat kids cereal, cold, grocery, private, 14.5 oz"


def test_no_word_is_said_twice():
    """Each word before the size stands once, in the order in which it is first met."""
    text = item_text({"title": "Soup soup SOUP", "category_3": "Tomato Soup", "category_1": "soup tomato"})
    assert text == "soup, tomato"


@pytest.mark.parametrize(
    ("title", "size", "expected"),
    [
        ("Kids cereal 14.5 OZ", "14.5 oz", "kids cereal 14.5 oz"),
        ("Cola 12 pk", "12 PK/12 OZ", "cola 12 pack, 12 pack 12 oz"),
        ("Milk", "1/2 GAL", "milk, 1/2 gal"),
        ("Milk", "½ gal", "milk, 1/2 gal"),
        ("Spice", " .77 OZ", "spice, .77 oz"),
    ],
)
def test_size_stays_a_phrase(title: str, size: str, expected: str):
    """A size is left out if the title says it; otherwise all of its words stay together."""
    assert item_text({"title": title, "size": size}) == expected


@pytest.mark.parametrize(
    "nothing", [None, "", "  ", "UNKNOWN", "Unknown", "N/A", "nan", "---", "\x00\n", "Unknown product 7"]
)
def test_unknown_item_gets_a_text(nothing: str | None):
    """An item of which nothing is known is called so."""
    assert item_text(dict.fromkeys(TEXT_COLUMNS, nothing)) == NAMELESS


def test_missing_columns_are_not_needed():
    """An item without any of the columns is nameless; other columns are ignored."""
    assert item_text({}) == NAMELESS
    assert item_text({"item_id": "7", "title": "Tea"}) == "tea"


def test_text_is_lower_case_in_any_alphabet():
    """No capitals remain, accents and other scripts survive, full-width letters become plain."""
    text = item_text(
        {"title": "CRÈME \N{FULLWIDTH LATIN CAPITAL LETTER A}", "category_3": "ГРЕЧКА 日本茶 🍵"}
    )
    assert text == "crème a, гречка 日本茶"
    assert text == text.lower()


@pytest.mark.parametrize("endless", ["x" * 100_000, "word " * 100_000, " ".join(map(str, range(100_000)))])
def test_endless_fields_are_cut(endless: str):
    """Every column at 100,000 characters still gives a text that BERT can read in one go."""
    text = item_text(dict.fromkeys(TEXT_COLUMNS, endless))
    assert 0 < len(text.split()) <= MAX_WORDS
    assert len(text) < 2_000


def test_shorthand_is_written_out_once():
    """No expansion contains shorthand itself, so reading a text again changes nothing."""
    assert all(words(long) == tuple(long.split()) for long in SHORTHAND.values())
    once = item_text({"title": "FRZN CHIX DNRS", "category_2": "frozen chicken dinners"})
    assert once == "frozen chicken dinners" == item_text({"title": once})


def test_columns_give_the_text_of_each_row():
    """Column-wise composition equals composing row by row."""
    columns = {
        "title": ["Tea", None, "Jam"],
        "brand": [None, None, "Own"],
        "item_id": ["1", "2", "3"],
    }
    rows = [{name: values[row] for name, values in columns.items()} for row in range(3)]
    assert item_texts(columns) == [item_text(row) for row in rows] == ["tea", NAMELESS, "jam, own"]


def test_columns_of_unequal_length_are_refused():
    """A column that lost a row is an error, not a shift of all texts."""
    with pytest.raises(ValueError, match="shorter"):
        item_texts({"title": ["Tea", "Jam"], "brand": ["A"]})
