"""Snowplow's e-commerce in canonical words: actions with their entities, the older cart events, `tr` and `ti`, and the
"enhanced e-commerce" of the plugin that goes by that name, in Universal Analytics' words.

    product_view → view_item          checkout_step, step 1        → begin_checkout
    add_to_cart, remove_from_cart     … with a payment method      → add_payment_info
    list_view → view_item_list        … with a delivery method     → add_shipping_info
    list_click → select_item          … any other                  → checkout_progress
    promo_view → view_promotion       transaction → purchase       trns_error → transaction_error
    promo_click → select_promotion    refund → refund

    detail → view_item    click → select_item    view → view_item_list    add, remove → add_to_cart, remove_from_cart
    checkout, checkout_option → as checkout_step above    purchase, refund    promo_click → select_promotion

The value of an order is what its transaction says; no other action gets one, because a sum would be our invention (the
total of a cart is kept as `props.cart_value`). Addresses in full are left out: no field holds them, and they name a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.receive.snowplow_fields import Data, Entity, put, rename

ACTIONS = {
    "product_view": "view_item",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "list_view": "view_item_list",
    "list_click": "select_item",
    "checkout_step": "checkout_progress",
    "transaction": "purchase",
    "refund": "refund",
    "promo_view": "view_promotion",
    "promo_click": "select_promotion",
    "trns_error": "transaction_error",
}
"""`type` of a snowplow_ecommerce_action → name."""

VENDOR = "com.snowplowanalytics.snowplow.ecommerce"
ENHANCED = {
    "click": "select_item",
    "detail": "view_item",
    "view": "view_item_list",
    "add": "add_to_cart",
    "remove": "remove_from_cart",
    "checkout": "checkout_progress",
    "checkout_option": "checkout_progress",
    "purchase": "purchase",
    "refund": "refund",
    "promo_click": "select_promotion",
}
"""`action` of an enhanced e-commerce action → name."""
_ENHANCED_VENDOR = "com.google.analytics.enhanced-ecommerce"
_ENHANCED_PRODUCTS = ("productFieldObject", "impressionFieldObject")

_PRODUCT = {"position": "index"}
_PROPS: dict[str, dict[str, str]] = {
    "cart": {"cart_id": "cart_id", "total_value": "cart_value", "currency": "currency"},
    "transaction": {
        "transaction_id": "transaction_id",
        "revenue": "value",
        "currency": "currency",
        "tax": "tax",
        "shipping": "shipping",
        "discount_code": "coupon",
        "discount_amount": "discount",
        "payment_method": "payment_method",
    },
    "refund": {
        "transaction_id": "transaction_id",
        "refund_amount": "value",
        "currency": "currency",
        "refund_reason": "refund_reason",
    },
    "checkout_step": {
        "step": "checkout_step",
        "payment_method": "payment_method",
        "delivery_method": "shipping_method",
        "delivery_provider": "delivery_provider",
        "coupon_code": "coupon",
        "account_type": "account_type",
    },
    "promotion": {
        "id": "promotion_id",
        "name": "promotion_name",
        "creative_id": "creative_name",
        "slot": "creative_slot",
        "type": "promotion_type",
        "position": "index",
    },
    "transaction_error": {
        "error_code": "error_code",
        "error_shortcode": "error_shortcode",
        "error_description": "error_description",
        "error_type": "error_type",
        "resolution": "resolution",
    },
    "actionFieldObject": {
        "id": "transaction_id",
        "revenue": "value",
        "currency": "currency",
        "tax": "tax",
        "shipping": "shipping",
        "coupon": "coupon",
        "affiliation": "affiliation",
        "list": "item_list_name",
        "step": "checkout_step",
        "option": "checkout_option",
    },
    "promoFieldObject": {
        "id": "promotion_id",
        "name": "promotion_name",
        "creative": "creative_name",
        "position": "creative_slot",
        "currency": "currency",
    },
    "page": {"type": "page_type", "language": "page_language", "locale": "page_locale"},
}
"""Entity → its key → property."""
_ELSEWHERE: dict[str, dict[str, tuple[str, str]]] = {
    "user": {"id": ("user", "id"), "email": ("user", "email")},
    "transaction": {"total_quantity": ("raw", "total_quantity"), "credit_order": ("raw", "credit_order")},
    "checkout_step": {"billing_postcode": ("user", "zip"), "shipping_postcode": ("user", "zip")},
}
"""Entity → its key → section, key."""
_OF_UA = frozenset((*_ENHANCED_PRODUCTS, "actionFieldObject", "promoFieldObject"))
_ENTITIES = frozenset(("product", *_PROPS, *_ELSEWHERE)) - _OF_UA

_ORDER = {
    "tr_id": ("props", "transaction_id"),
    "tr_tt": ("props", "value"),
    "tr_tx": ("props", "tax"),
    "tr_sh": ("props", "shipping"),
    "tr_cu": ("props", "currency"),
    "tr_af": ("props", "affiliation"),
    "tr_ci": ("user", "city"),
    "tr_st": ("user", "state"),
    "tr_co": ("user", "country"),
}
_LINE = {"ti_sk": "id", "ti_nm": "name", "ti_na": "name", "ti_ca": "category", "ti_pr": "price", "ti_qu": "quantity"}
_CART_ITEM = {"sku": "id", "name": "name", "category": "category", "unitPrice": "price", "quantity": "quantity"}


def of_shop(one: Entity) -> bool:
    """Whether an entity is one of those read here."""
    return one.name in _ENTITIES if one.vendor == VENDOR else one.vendor == _ENHANCED_VENDOR and one.name in _OF_UA


def of_enhanced(one: Entity) -> bool:
    """Whether a self-describing event is an action of enhanced e-commerce."""
    return one.vendor == _ENHANCED_VENDOR and one.name == "action"


def action_name(kind: object, entities: Sequence[Entity]) -> str | None:
    """The name of an action; None for a type that is not in the schema."""
    name = ACTIONS.get(kind) if isinstance(kind, str) else None
    if name != "checkout_progress":
        return name
    step = _data_of("checkout_step", entities)
    if step.get("step") in (1, "1"):
        return "begin_checkout"
    if step.get("payment_method"):
        return "add_payment_info"
    return "add_shipping_info" if step.get("delivery_method") else name


def enhanced_name(kind: object, entities: Sequence[Entity]) -> str | None:
    """The name of an enhanced e-commerce action; None for one that the plugin does not have."""
    name = ENHANCED.get(kind) if isinstance(kind, str) else None
    if kind == "checkout" and str(_data_of("actionFieldObject", entities).get("step", 1)) == "1":
        return "begin_checkout"
    return name


def _data_of(name: str, entities: Sequence[Entity]) -> Mapping[str, Any]:
    return next((one.data for one in entities if one.name == name and isinstance(one.data, dict)), {})


def add_shop(entities: Iterable[Entity], data: Data, list_name: object = None) -> list[dict[str, Any]]:
    """Move the e-commerce entities into `data`; returns the items. `list_name` is the list that an action names."""
    items: list[dict[str, Any]] = []
    for one in entities:
        said = one.data if isinstance(one.data, dict) else {}
        if one.name == "product" or one.name in _ENHANCED_PRODUCTS:
            items.append(_item(said, list_name))
        for key, name in _PROPS.get(one.name, {}).items():
            put(data, "props", name, said.get(key))
        for key, (section, field) in _ELSEWHERE.get(one.name, {}).items():
            put(data, section, field, said.get(key))
        if one.name == "user" and isinstance(said.get("is_guest"), bool):
            data.setdefault("user", {}).setdefault("traits", {})["is_guest"] = said["is_guest"]
        if one.name == "promotion" and isinstance(said.get("product_ids"), list):
            items += [{"id": product} for product in said["product_ids"] if isinstance(product, str)]
    put(data, "props", "currency", _common_currency(items))
    return items


def _item(product: Mapping[str, Any], list_name: object) -> dict[str, Any]:
    item = {key: value for key, value in product.items() if value is not None}
    rename(item, _PRODUCT)
    if isinstance(list_name, str) and list_name:
        item.setdefault("list", list_name)
    return item


def _common_currency(items: list[dict[str, Any]]) -> Any:
    """The currency of the items, where they have one in common."""
    found = {item.get("currency") for item in items if isinstance(item.get("currency"), str)}
    return found.pop() if len(found) == 1 else None


def order(fields: Mapping[str, str], data: Data) -> None:
    """A `tr`: the order without its lines."""
    for key, (section, field) in _ORDER.items():
        put(data, section, field, fields.get(key))


def line(fields: Mapping[str, str]) -> dict[str, Any]:
    """A `ti`: one line of an order."""
    item: dict[str, Any] = {}
    for key, name in _LINE.items():
        if fields.get(key):
            item.setdefault(name, fields[key])
    return item


def cart_item(props: dict[str, Any], data: Data) -> list[dict[str, Any]]:
    """The item of an older `add_to_cart` or `remove_from_cart` event, taken out of its properties."""
    item = {new: props.pop(old) for old, new in _CART_ITEM.items() if props.get(old) is not None}
    put(data, "props", "currency", props.pop("currency", None))
    return [item] if item else []
