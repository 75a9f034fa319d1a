"""Readable titles for products that a till only knows by capitals and codes.

In: what Complete Journey says of a product. Out: one line for people.

    >>> product_title("GROCERY", "YOGURT", "YOGURT NOT MULTI-PACKS", "Private", "6 OZ")
    'Yogurt not multi-packs (private brand, 6 oz)'
    >>> product_title("MEAT-PCKGD", "HOT DOGS", "ECONOMY - MEAT", "National", None)
    'Hot dogs: economy, meat'
"""

import re

from feature_repo.item_text import SHORTHAND, words

TITLE_PARTS = ("department", "product_category", "product_type", "brand", "package_size")

# "MLT" is multi here; elsewhere in retail it is malt.
_SPELLED = SHORTHAND | {"mlt": "multi"}
_WORD = re.compile(r"[^\W\d_]+")


def phrase(shouted: str | None) -> str:
    """Lower case, shorthand written out, brackets that the file cut off closed.

    >>> phrase("SFT DRNK MLT-PK BTL CARB (EXCP")
    'soft drink multi-pack bottle carb (excp)'
    """
    text = _WORD.sub(lambda word: _SPELLED.get(word[0], word[0]), (shouted or "").lower())
    text = re.sub(r"\s*:\s*", ": ", re.sub(r"\s+-\s*|\s*-\s+", ", ", text))
    text = re.sub(r"\(\s*\)", "", text + ")" * (text.count("(") - text.count(")")))
    return re.sub(r"\s+", " ", text).strip(" ,:/")


def product_title(
    department: str | None, category: str | None, kind: str | None, brand: str | None, size: str | None
) -> str | None:
    """Narrowest description first, the category before it where it adds words; None if nothing is known."""
    broad, narrow = phrase(category), phrase(kind)
    if not narrow or set(words(narrow)) <= set(words(broad)):
        head = broad or narrow or phrase(department)
    elif set(words(broad)) <= set(words(narrow)):
        head = narrow
    else:
        head = f"{broad}: {narrow.replace(': ', ', ')}"
    if not head:
        return None
    details = ["private brand"] if brand == "Private" else []
    details += [re.sub(r"\s+", " ", size).strip().lower()] if size and size.strip() else []
    return head[0].upper() + head[1:] + (f" ({', '.join(details)})" if details else "")
