"""The readable text of an item: what BERT reads instead of the shop's columns.

In: an item's columns of the `items` table. Out: one line of lower-case words, narrowest description first,
no word said twice, till-roll shorthand written out:

    >>> item_text({"category_3": "KIDS CEREAL", "category_2": "COLD CEREAL", "category_1": "GROCERY",
    ...            "brand": "Private", "size": "14.5 OZ"})
    'kids cereal, cold, grocery, private, 14.5 oz'

Pure: items with equal columns get equal texts, so each text needs to be encoded only once.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

TEXT_COLUMNS = ("title", "category_3", "category_2", "category_1", "brand", "size")
NAMELESS = "unknown product"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # a text without a date was always known
MAX_FIELD_CHARACTERS = 400  # a field longer than this is a description: its start says what the item is
MAX_WORDS = 64  # about 100 BERT tokens
FRACTION_SLASH = "\N{FRACTION SLASH}"  # what NFKC makes of the stroke in one character fractions

_MISSING = frozenset({"", "unknown", "none", "nan", "null", "n/a"})
# A number with its decimals, fractions and unit (14.5, 1/2, .77, 12pk), or a word (also o'brien).
_WORD = re.compile(r"\.?\d+(?:[./]\d+)*[^\W\d_]*|[^\W_]+(?:['\u2019][^\W_]+)*")

# Shorthand that till systems of grocers use and that BERT's vocabulary does not know.
SHORTHAND = {
    "bev": "beverage",
    "bkd": "baked",
    "brd": "bread",
    "brkfst": "breakfast",
    "btl": "bottle",
    "btr": "butter",
    "catfd": "cat food",
    "chix": "chicken",
    "choc": "chocolate",
    "ckys": "cookies",
    "cleang": "cleaning",
    "cndy": "candy",
    "cntrl": "control",
    "conc": "concentrate",
    "crkr": "crackers",
    "crmd": "creamed",
    "dnr": "dinner",
    "dnrs": "dinners",
    "dogfd": "dog food",
    "drnk": "drink",
    "drnks": "drinks",
    "drsng": "dressing",
    "dsh": "dish",
    "fd": "food",
    "fem": "feminine",
    "flvrd": "flavored",
    "frz": "frozen",
    "frzn": "frozen",
    "gds": "goods",
    "gm": "general merchandise",
    "hygn": "hygiene",
    "jce": "juice",
    "mlt": "multi",
    "mxs": "mixes",
    "occas": "occasion",
    "pckgd": "packaged",
    "pk": "pack",
    "pkg": "package",
    "pkgd": "packaged",
    "pkld": "pickled",
    "pwdr": "powder",
    "refrgratd": "refrigerated",
    "sald": "salad",
    "sft": "soft",
    "sgl": "single",
    "sherbts": "sherbets",
    "sndwch": "sandwich",
    "snks": "snacks",
    "sngl": "single",
    "sply": "supply",
    "sprd": "spread",
    "srv": "serve",
    "tiss": "tissue",
    "trsh": "trash",
    "veg": "vegetable",
    "wtr": "water",
}


@lru_cache(maxsize=65_536)
def words(field: str) -> tuple[str, ...]:
    """Lower-case words of one field, in order; none for a field that only says that nothing is known.

    >>> words("FRZN MEAT/MEAT  DINNERS (1/2 LB)")
    ('frozen', 'meat', 'meat', 'dinners', '1/2', 'lb')
    """
    plain = unicodedata.normalize("NFKC", field[:MAX_FIELD_CHARACTERS]).lower().replace(FRACTION_SLASH, "/")
    # The number of an "Unknown product 1093587" describes nothing either.
    if plain.strip() in _MISSING or plain.startswith(NAMELESS):
        return ()
    found = (SHORTHAND.get(word, word) for word in _WORD.findall(plain))
    return tuple(word for phrase in found for word in phrase.split())


def item_text(fields: Mapping[str, str | None]) -> str:
    """Readable text of one item from those of `TEXT_COLUMNS` that it has; never empty.

    A size keeps its words together ("12 pack, 12 oz"); a size that the title already says is left out.
    """
    parts: list[str] = []
    said: set[str] = set()
    for column in TEXT_COLUMNS:
        found = words(fields.get(column) or "")
        fresh = tuple(word for word in dict.fromkeys(found) if word not in said)
        if column == "size" and f" {' '.join(found)} " not in f" {' '.join(parts)} ":
            fresh = found
        fresh = fresh[: MAX_WORDS - len(said)]
        if fresh:
            parts.append(" ".join(fresh))
            said.update(fresh)
    return ", ".join(parts) or NAMELESS


def item_texts(columns: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Readable text of every item: columns in (equally long), one text per row out."""
    present = [column for column in TEXT_COLUMNS if column in columns]
    rows = zip(*(columns[column] for column in present), strict=True)
    return [item_text(dict(zip(present, row, strict=True))) for row in rows]


def text_key(text: str) -> bytes:
    """The key of a text in the cache of vectors: 16 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
