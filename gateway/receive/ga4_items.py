"""Items as GA4 writes them: `idSKU_1~nmRed shoe~pr39.9~qt2~k0color~v0red`, and the long names of its JSON.

Fields are separated by `~`, a `~` of a value is doubled; each is a key of two characters and a value, except the site's
own parameters, whose names and values come as `k<n>` and `v<n>`. A value may begin with a digit (`v012` is 12 of number 0), so
a `v` is read by the numbers that `k` fields have given: of those that fit, the last one given.
"""

from __future__ import annotations

import re
from typing import Any

SHORT: dict[str, str] = {
    "id": "id",
    "nm": "name",
    "br": "brand",
    "ca": "category",
    "c2": "category2",
    "c3": "category3",
    "c4": "category4",
    "c5": "category5",
    "va": "variant",
    "pr": "price",
    "qt": "quantity",
    "ds": "discount",
    "cp": "coupon",
    "af": "affiliation",
    "ln": "list",
    "li": "list_id",
    "lp": "index",
    "lo": "location_id",
    "cn": "creative_name",
    "cs": "creative_slot",
    "pi": "promotion_id",
    "pn": "promotion_name",
}
"""Key of two characters → canonical key of an item."""
LONG: dict[str, str] = {
    "item_id": "id",
    "item_name": "name",
    "item_brand": "brand",
    "item_category": "category",
    **{f"item_category{n}": f"category{n}" for n in range(2, 6)},
    "item_variant": "variant",
    "item_list_name": "list",
    "item_list_id": "list_id",
}
"""Key of GA4's JSON → canonical key; any other is the same or the site's own."""

_NAME = re.compile(r"k(\d{1,3})(\D.*)", re.ASCII | re.DOTALL)
_VALUE = re.compile(r"v\d", re.ASCII)


def item(text: str) -> dict[str, Any]:
    """One item; keys of two characters that nobody knows stay under their own name."""
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for field in split(text):
        if name := _NAME.fullmatch(field):
            names.pop(name[1], None)
            names[name[1]] = name[2]
        elif _VALUE.match(field):
            _custom(field[1:], names, found)
        elif len(field) > 2:
            found[SHORT.get(field[:2], field[:2])] = field[2:]
    return found


def _custom(numbered: str, names: dict[str, str], found: dict[str, Any]) -> None:
    for number in reversed(names):
        value = numbered[len(number) :]
        if numbered.startswith(number):
            if value:
                found.setdefault(names[number], value)
            return


def split(text: str) -> list[str]:
    """The fields between single tildes; a doubled one is a tilde of the value.

    >>> split("idA~nmTea~~Pot")
    ['idA', 'nmTea~Pot']
    """
    return [part.replace("\0", "~") for part in text.replace("\0", "").replace("~~", "\0").split("~")]


def renamed(given: dict[str, Any]) -> dict[str, Any]:
    """An item of GA4's JSON in canonical keys; a canonical key that is there already wins."""
    found = {key: value for key, value in given.items() if key not in LONG}
    for long, key in LONG.items():
        if given.get(long) not in (None, ""):
            found.setdefault(key, given[long])
    return found
