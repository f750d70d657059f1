"""Segment's e-commerce shapes in ours: event names, `products[]` → `items[]`, one product → one item, money.

A property that has a canonical name moves to it (`order_id` → `transaction_id`, `query` → `search_term`, `position` →
`index`); `total`, `revenue` and `subtotal` stay, so that a mapping can choose what the shop optimises for.

    value = total → value → revenue → sum(price × quantity)

The sum is taken only where every item has a price (a missing quantity is one), and never in place of a revenue that cannot be
read: that one stands as `value`, which then counts as unreadable. A custom event is nobody's vocabulary: its own `value` stays
before `total`, and it gets no sum. All names are data: `gateway.normalise.vocabulary`.
"""

from __future__ import annotations

from typing import Any

from gateway.event import CANONICAL_NAMES
from gateway.normalise import vocabulary as words
from gateway.normalise.values import number

TRANSLATED = frozenset({"segment", "data_tag"})
"""Dialects that speak this vocabulary."""


def translate(name: str, data: dict[str, Any], dialect: str = "segment") -> tuple[str, dict[str, Any]]:
    """The canonical name, and the event's data in canonical shape. The input is not changed."""
    props = data.get("props")
    if not isinstance(props, dict):
        return words.canonical(name), data
    name = words.canonical(name, props)
    props = dict(props)
    for old in words.DROPPED_OF.get(name, ()):
        props.pop(old, None)
    _rename(props, words.PROPERTIES)
    _rename(props, words.PROPERTIES_OF.get(name, {}))
    items = _items(name, props)
    _money(name, props, items, words.VALUE_FROM_OF.get(dialect, words.VALUE_FROM))
    translated = {**data, "props": props}
    if items:
        translated["items"] = items
    return name, translated


def _rename(fields: dict[str, Any], table: dict[str, str]) -> None:
    for old, new in table.items():
        if old in fields and _filled(fields[old]):
            value = fields.pop(old)
            if not _filled(fields.get(new)):
                fields[new] = value


def _filled(value: Any) -> bool:
    return value is not None and value != ""


def _items(name: str, props: dict[str, Any]) -> list[Any]:
    for key in ("products", "items"):
        given = props.get(key)
        if isinstance(given, dict):
            given = [given]
        if isinstance(given, list) and any(isinstance(product, dict) for product in given):
            del props[key]
            return [_item(product) for product in given if isinstance(product, dict)]
    marks = words.PRODUCT_MARKS if name in words.SINGLE_PRODUCT else words.ITEM_IDS if name in words.NAMES_A_PRODUCT else ()
    if any(_filled(props.get(mark)) for mark in marks):
        return [_item({key: props.pop(key) for key in list(props) if key in words.PRODUCT_FIELDS})]
    return []


def _item(product: dict[str, Any]) -> dict[str, Any]:
    item = dict(product)
    _rename(item, words.ITEM_KEYS)
    for key in words.ITEM_IDS:
        if _filled(item.get(key)):
            item["id"] = item.pop(key)
            break
    return item


def _money(name: str, props: dict[str, Any], items: list[Any], value_from: tuple[str, ...]) -> None:
    for key in words.MONEY:
        amount = number(props.get(key))
        if amount is not None:
            props[key] = amount
    if name not in CANONICAL_NAMES and number(props.get("value")) is not None:
        return
    for key in value_from:
        amount = number(props.get(key))
        if amount is not None:
            props["value"] = amount
            return
    if name in CANONICAL_NAMES and _filled(props.get("revenue")):
        props["value"] = props["revenue"]
    elif name in CANONICAL_NAMES and items and (total := _sum(items)) is not None:
        props["value"] = total


def _sum(items: list[Any]) -> int | float | None:
    total: int | float = 0
    for item in items:
        price, quantity = number(item.get("price")), number(item.get("quantity", 1))
        if price is None or quantity is None:
            return None
        total += price * quantity
    return number(total)
