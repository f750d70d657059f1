"""Other vocabularies' event and field names, as data: Segment's e-commerce v2 spec with its older spellings, Meta's standard
events, GA4's item keys.

Names are compared in lower case without blanks around them; a name that no table knows is a custom event and stays as it
came, case and all. GA4's own names are the canonical ones and pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.event import CANONICAL_NAMES

SEGMENT_NAMES = {
    # browsing
    "products searched": "search",
    "product list viewed": "view_item_list",
    "product list filtered": "view_item_list",
    "product clicked": "select_item",
    "product viewed": "view_item",
    "promotion viewed": "view_promotion",
    "promotion clicked": "select_promotion",
    # cart
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "cart viewed": "view_cart",
    "wishlist product added to cart": "add_to_cart",
    "product added to wishlist": "add_to_wishlist",
    "product removed from wishlist": "remove_from_wishlist",
    # checkout and order
    "checkout started": "begin_checkout",
    "checkout step viewed": "checkout_progress",
    "checkout step completed": "checkout_progress",
    "payment info entered": "add_payment_info",
    "order completed": "purchase",
    "order updated": "order_updated",
    "order refunded": "refund",
    "order cancelled": "order_cancelled",
    # coupons, sharing, reviewing
    "coupon entered": "coupon_entered",
    "coupon applied": "coupon_applied",
    "coupon denied": "coupon_denied",
    "coupon removed": "coupon_removed",
    "product shared": "share",
    "cart shared": "share",
    "product reviewed": "product_reviewed",
    # business-to-business
    "signed up": "sign_up",
    "signup": "sign_up",
    "signed in": "login",
    "trial started": "start_trial",
    # other orders of the words
    "item viewed": "view_item",
    "item list viewed": "view_item_list",
    "item added": "add_to_cart",
    "item removed": "remove_from_cart",
    "item clicked": "select_item",
    "added to cart": "add_to_cart",
    "removed from cart": "remove_from_cart",
    "added to wishlist": "add_to_wishlist",
    # spellings of the first e-commerce spec
    "searched products": "search",
    "viewed product category": "view_item_list",
    "viewed product list": "view_item_list",
    "clicked product": "select_item",
    "viewed product": "view_item",
    "viewed promotion": "view_promotion",
    "clicked promotion": "select_promotion",
    "added product": "add_to_cart",
    "removed product": "remove_from_cart",
    "viewed cart": "view_cart",
    "added product to wishlist": "add_to_wishlist",
    "removed product from wishlist": "remove_from_wishlist",
    "started checkout": "begin_checkout",
    "viewed checkout step": "checkout_progress",
    "completed checkout step": "checkout_progress",
    "entered payment info": "add_payment_info",
    "completed order": "purchase",
    "updated order": "order_updated",
    "refunded order": "refund",
    "cancelled order": "order_cancelled",
    "order canceled": "order_cancelled",
    "shared product": "share",
    "shared cart": "share",
    "reviewed product": "product_reviewed",
}

PIXEL_NAMES = {
    "PageView": "page_view",
    "ViewContent": "view_item",
    "Search": "search",
    "AddToCart": "add_to_cart",
    "AddToWishlist": "add_to_wishlist",
    "InitiateCheckout": "begin_checkout",
    "AddPaymentInfo": "add_payment_info",
    "Purchase": "purchase",
    "Lead": "generate_lead",
    "CompleteRegistration": "sign_up",
    "Contact": "contact",
    "CustomizeProduct": "customize_product",
    "Donate": "donate",
    "FindLocation": "find_location",
    "Schedule": "schedule",
    "StartTrial": "start_trial",
    "SubmitApplication": "submit_application",
    "Subscribe": "subscribe",
}
"""Meta's standard events in Meta's spelling: to its pixel another spelling is another event."""
META_NAMES = {name.lower(): canonical for name, canonical in PIXEL_NAMES.items()}

NAMES_OF: dict[str, Mapping[str, str]] = {
    "meta_pixel": {
        **PIXEL_NAMES,
        **{f"automatic_{name}": f"automatic_{canonical}" for name, canonical in PIXEL_NAMES.items()},
        **{f"automatic_{name}": name for name in ("SubscribedButtonClick", "Microdata", "InputData")},
    },
}
"""Of dialects whose names alone are translated, exactly as they are written."""

_NAMES = {**META_NAMES, **SEGMENT_NAMES}
_CANONICAL = {name.replace("_", " "): name for name in CANONICAL_NAMES}

_WHERE_SHIPPING = {"checkout_progress": "add_shipping_info"}
"""A checkout step that names a shipping method is GA4's own event."""

SINGLE_PRODUCT = frozenset(
    "view_item select_item add_to_cart remove_from_cart add_to_wishlist remove_from_wishlist share product_reviewed".split()
)
"""Events whose properties are one product."""
NAMES_A_PRODUCT = frozenset({"add_payment_info"})
"""Events whose properties are one product where they say its id."""

PROPERTIES = {"order_id": "transaction_id", "orderId": "transaction_id"}
"""Of every event; a canonical property that is there already wins."""
PROPERTIES_OF = {"search": {"query": "search_term", "search_string": "search_term"}}
"""Of one event."""
DROPPED_OF = {"share": ("recipient",)}
"""Properties that hold somebody else's e-mail address."""

ITEM_IDS = ("product_id", "productId", "item_id", "sku", "id")
"""The first that is filled is the item's id; the others stay under their own names."""
ITEM_KEYS = {
    "position": "index",
    "product_name": "name",
    "item_name": "name",
    "item_brand": "brand",
    "item_category": "category",
    "item_category2": "category2",
    "item_variant": "variant",
    "item_list_name": "list",
    "item_price": "price",
}
"""Other names of an item's keys."""
PRODUCT_FIELDS = frozenset(
    """product_id productId item_id sku id name product_name item_name brand item_brand category item_category
    item_category2 variant item_variant price item_price quantity coupon position index url image_url""".split()
)
"""Properties of a single-product event that describe the product and move to its item."""
PRODUCT_MARKS = ("product_id", "productId", "item_id", "sku", "id", "name", "product_name", "item_name", "price")
"""One of these must be there, else the properties hold no product."""

VALUE_FROM = ("total", "value", "revenue")
"""What `props.value` is taken from, first usable one; they all stay."""
VALUE_FROM_OF = {"data_tag": ("value", "revenue")}
"""The same, of dialects that say it otherwise."""
MONEY = ("total", "revenue", "subtotal")
"""Amounts beside the canonical ones that are made numbers."""


def canonical(name: str, props: Mapping[str, Any] | None = None) -> str:
    """The canonical name of an event as Segment, Meta or GA4 call it; any other name unchanged.

    A canonical name is known in any case and with spaces or dashes too, and so are the tables' names.

    >>> canonical(" Order completed "), canonical("AddToCart"), canonical("Generate Lead"), canonical("Quiz Done")
    ('purchase', 'add_to_cart', 'generate_lead', 'Quiz Done')
    """
    plain = name.strip()
    spaced = plain.lower().replace("_", " ").replace("-", " ")
    known = _NAMES.get(spaced) or _CANONICAL.get(spaced, plain)
    return _WHERE_SHIPPING.get(known, known) if props and props.get("shipping_method") else known
