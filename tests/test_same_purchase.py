"""The same purchase through each dialect is the same canonical event, and so the same payload at each vendor.

A dialect is one row of DIALECTS: the hit, and what its protocol cannot say or says besides (`differs`, `sent`: path → why).
The rows are exact: a difference that is not listed fails, and so does a listed one that is none.

A shop's webhook is told after a hit of the same browser that named the checkout: what that hit left is carried over.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway import checkout
from gateway.config.models import SourceConsent
from gateway.consent.decide import decide
from gateway.enrich import enrich
from gateway.event import Event
from gateway.normalise import Normalised, normalise
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.shop import DIALECTS as SHOPS
from tests import destination_kit as kit
from tests.receive_cases import DECODERS, RECEIVED, hit

EMAIL = "a4c14f1b068bf2c602e289b5dfcd89085692c73c63daf5a90a0b481b7328ee35"
"""The SHA-256 of ada@shop.example."""
PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage")
URL, REFERRER = "https://shop.example/thanks?gclid=Cj0KCQiA1234567890abc&utm_source=news", "https://shop.example/cart"
BROWSER: dict[str, Any] = {
    "headers": {
        "origin": "https://shop.example",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0",
        "accept-language": "en-us",
        "cookie": "_ga=GA1.1.1098115397.1795514300; _ga_TEST12345=GS2.1.s1795514300$o3$g1$t1795514390; "
        "_fbp=fb.1.1795514300000.1098115397",
    },
    "ip": "203.0.113.7",
    "country": "DE",
}
"""What every hit of the page has: the browser's own headers and the first-party cookies."""
ITEMS = [
    {"id": "SKU-1", "name": "Red shoe", "brand": "Acme", "category": "Shoes", "variant": "38", "price": 39.9, "quantity": 2,
     "index": 1, "colour": "red"},
    {"id": "SKU-2", "name": "Sock ~ warm", "category": "Socks", "price": 5, "quantity": 1},
]  # fmt: skip
PURCHASE: dict[str, Any] = {
    "name": "purchase",
    "id": "T-1001",
    "user": {"id": "u-1", "email": "ada@shop.example"},
    "page": {"url": URL, "title": "Thanks", "referrer": REFERRER},
    "device": {"screen_width": 1920, "screen_height": 1080},
    "props": {"transaction_id": "T-1001", "value": 98.2, "currency": "EUR", "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER"},
    "items": ITEMS,
    "consent": dict.fromkeys(PURPOSES, "granted"),
}
"""The purchase as a native event."""


@dataclass(frozen=True)
class Said:
    """The purchase in one dialect; `differs` are leaves of the canonical event, `sent` of the payloads, by vendor.

    `order` is its number and `user` the customer's, where the shop gives its own.
    """

    hit: dict[str, Any]
    differs: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    order: str = "T-1001"
    user: str = "u-1"


def _ga4_items() -> dict[str, str]:
    return {
        "pr1": "idSKU-1~nmRed shoe~brAcme~caShoes~va38~pr39.9~qt2~lp1~k0colour~v0red",
        "pr2": "idSKU-2~nmSock ~~ warm~caSocks~pr5~qt1",
    }


SEGMENT = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "T-1001",
    "userId": "u-1",
    "context": {
        "page": {"url": URL, "title": "Thanks", "referrer": REFERRER},
        "screen": {"width": 1920, "height": 1080},
        "traits": {"email": "ada@shop.example"},
        "consent": dict.fromkeys(PURPOSES, "granted"),
    },
    "properties": {
        "order_id": "T-1001", "total": 98.2, "currency": "EUR", "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER",
        "products": [
            {"product_id": "SKU-1", "name": "Red shoe", "brand": "Acme", "category": "Shoes", "variant": "38", "price": 39.9,
             "quantity": 2, "position": 1, "colour": "red"},
            {"product_id": "SKU-2", "name": "Sock ~ warm", "category": "Socks", "price": 5, "quantity": 1},
        ],
    },
}  # fmt: skip
PIXEL = {
    "e": "purchase", "eid": "T-1001", "u": URL, "r": REFERRER, "v": "98.2", "c": "EUR", "oid": "T-1001", "uid": "u-1",
    "em": EMAIL,
    "cd.tax": "13.5", "cd.shipping": "4.9", "cd.coupon": "SUMMER",
    **{f"consent.{purpose}": "granted" for purpose in PURPOSES},
}  # fmt: skip
GA4 = {
    "v": "2", "tid": "G-TEST12345", "cid": "1098115397.1795514300", "sid": "1795514300", "sct": "3", "uid": "u-1", "dl": URL,
    "dr": REFERRER, "dt": "Thanks", "ul": "en-us", "sr": "1920x1080", "gcs": "G111", "gcd": "13r3r3r3r5", "en": "purchase",
    "cu": "EUR", "ep.transaction_id": "T-1001", "epn.value": "98.2", "epn.tax": "13.5", "ep.shipping": "4.9",
    "ep.coupon": "SUMMER", "ep.user_data.email": "ada@shop.example", **_ga4_items(),
}  # fmt: skip
MEASUREMENT_PROTOCOL: dict[str, Any] = {
    "client_id": "1098115397.1795514300",
    "user_id": "u-1",
    "consent": dict.fromkeys(PURPOSES, "GRANTED"),
    "user_data": {"sha256_email_address": [EMAIL]},
    "events": [{"name": "purchase", "params": {
        "session_id": "1795514300", "session_number": 3, "page_location": URL, "page_referrer": REFERRER,
        "page_title": "Thanks", "screen_resolution": "1920x1080", "transaction_id": "T-1001", "value": 98.2,
        "currency": "EUR", "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER",
        "items": [
            {"item_id": "SKU-1", "item_name": "Red shoe", "item_brand": "Acme", "item_category": "Shoes", "item_variant": "38",
             "price": 39.9, "quantity": 2, "index": 1, "colour": "red"},
            {"item_id": "SKU-2", "item_name": "Sock ~ warm", "item_category": "Socks", "price": 5, "quantity": 1},
        ],
    }}],
}  # fmt: skip

AGREED = {**BROWSER["headers"], "cookie": BROWSER["headers"]["cookie"] + "; _tw_consent=v1.gggg.1795514000.e"}
"""For trackers that say nothing of consent: what the visitor chose, in our own cookie."""
DATA_TAG = {
    "event_name": "purchase", "event_id": "T-1001", "user_id": "u-1", "user_data": {"email_address": "ada@shop.example"},
    "page_location": URL, "page_referrer": REFERRER, "page_title": "Thanks", "screen_resolution": "1920x1080",
    "transaction_id": "T-1001", "value": 98.2, "currency": "EUR", "tax": 13.5, "shipping": 4.9, "coupon": "SUMMER",
    "items": MEASUREMENT_PROTOCOL["events"][0]["params"]["items"],
    "consent_state": dict.fromkeys(PURPOSES, True),
}  # fmt: skip
META_PIXEL = {
    "id": "123456789012345", "ev": "Purchase", "eid": "T-1001", "dl": URL, "rl": REFERRER, "sw": "1920", "sh": "1080",
    "ud[em]": EMAIL, "ud[external_id]": "u-1", "cd[order_id]": "T-1001", "cd[value]": "98.2", "cd[currency]": "EUR",
    "cd[tax]": "13.5", "cd[shipping]": "4.9", "cd[coupon]": "SUMMER",
    "cd[contents]": json.dumps([{"id": one["id"], "quantity": one["quantity"], "item_price": one["price"]} for one in ITEMS]),
}  # fmt: skip


def _snowplow() -> dict[str, str]:
    ours, shop = "iglu:com.snowplowanalytics.snowplow", "iglu:com.snowplowanalytics.snowplow.ecommerce"
    order = {"transaction_id": "T-1001", "revenue": 98.2, "currency": "EUR", "tax": 13.5, "shipping": 4.9}
    products = [
        {("position" if key == "index" else key): value for key, value in one.items() if key != "colour"} for one in ITEMS
    ]
    entities = [
        ("transaction", {**order, "discount_code": "SUMMER", "payment_method": "card", "total_quantity": 3}),
        *(("product", {**product, "currency": "EUR"}) for product in products),
        ("user", {"id": "u-1", "email": "ada@shop.example"}),
    ]
    action = {"schema": f"{shop}/snowplow_ecommerce_action/jsonschema/1-0-2", "data": {"type": "transaction"}}
    contexts = [{"schema": f"{shop}/{name}/jsonschema/1-0-0", "data": data} for name, data in entities]
    return {
        "e": "ue", "p": "web", "tv": "js-4.10.1", "eid": "T-1001", "url": URL, "refr": REFERRER, "page": "Thanks",
        "res": "1920x1080",
        "ue_pr": json.dumps({"schema": f"{ours}/unstruct_event/jsonschema/1-0-0", "data": action}),
        "co": json.dumps({"schema": f"{ours}/contexts/jsonschema/1-0-0", "data": contexts}),
    }  # fmt: skip


SHOPIFY = {
    "id": 1001, "created_at": "2026-11-24T10:00:00.500Z", "email": "ada@shop.example", "currency": "EUR",
    "total_price": "98.20", "total_tax": "13.50", "total_shipping_price_set": {"shop_money": {"amount": "4.90"},
    "presentment_money": {"amount": "4.90"}}, "discount_codes": [{"code": "SUMMER"}], "customer": {"id": 207119551},
    "checkout_token": "token-1", "buyer_accepts_marketing": False,
    "client_details": {"browser_ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0"},
    "landing_site": URL,
    "line_items": [
        {"variant_id": 38, "sku": "SKU-1", "title": "Red shoe", "vendor": "Acme", "variant_title": "38", "price": "39.90",
         "quantity": 2},
        {"variant_id": 39, "sku": "SKU-2", "title": "Sock ~ warm", "price": "5.00", "quantity": 1},
    ],
}  # fmt: skip
WOOCOMMERCE = {
    "id": 1001, "number": "T-1001", "status": "processing", "date_created_gmt": "2026-11-24T10:00:00.500", "currency": "EUR",
    "total": "98.20", "total_tax": "13.50", "shipping_total": "4.90", "coupon_lines": [{"code": "SUMMER"}],
    "billing": {"email": "ada@shop.example"}, "customer_id": 25, "customer_ip_address": "203.0.113.7",
    "line_items": [
        {"product_id": 93, "variation_id": 38, "name": "Red shoe", "sku": "SKU-1", "quantity": 2, "subtotal": "79.80",
         "total": "79.80"},
        {"product_id": 94, "variation_id": 0, "name": "Sock ~ warm", "sku": "SKU-2", "quantity": 1, "subtotal": "5.00",
         "total": "5.00"},
    ],
}  # fmt: skip
STRIPE = {
    "id": "evt_1", "object": "event", "type": "checkout.session.completed", "created": RECEIVED, "livemode": True,
    "data": {"object": {
        "id": "token-1", "object": "checkout.session", "mode": "payment", "payment_status": "paid", "currency": "eur",
        "amount_total": 9820, "total_details": {"amount_tax": 1350, "amount_shipping": 490, "amount_discount": 0},
        "customer": "cus_9",
        "customer_details": {"email": "ada@shop.example"}, "metadata": {"order_id": "T-1001"}, "payment_intent": "pi_1",
    }},
}  # fmt: skip

CATALOGUE = "items go by the ids of the shop's catalogue, and say what the shop knows of them"
NO_LINES = "a session names no lines"
NO_COUPON = "a session names no code"
_ITEMS = {
    "meta": {f"custom_data.{key}": CATALOGUE for key in ("contents", "content_ids", "content_category")},
    "ga4": {"params.items": CATALOGUE},
    "tiktok": {f"properties.{key}": CATALOGUE for key in ("contents", "content_ids")},
}


HASHED = "the address is said as its SHA-256, which vendors get anyway"
NO_ITEMS = "a pixel has no items"
UNNAMED = "of a product the pixel says id, quantity and price alone"
_CONTENT = ("contents", "content_ids", "content_type", "num_items")
DIALECTS: dict[str, Said] = {
    "json": Said({"body": PURCHASE}),
    "segment": Said(
        {"body": SEGMENT},
        differs={"props.total": "Segment's own word for the value, kept beside it"},
        sent={"ga4": {"params.total": "the site's own properties go out as parameters"}},
    ),
    "pixel": Said(
        {"query": urlencode(PIXEL)},
        differs={
            "user.email": HASHED,
            "page.title": "no key for it",
            "device.screen_width": "no key for it",
            "device.screen_height": "no key for it",
            "items": NO_ITEMS,
        },
        sent={
            "meta": {f"custom_data.{key}": NO_ITEMS for key in (*_CONTENT, "content_name", "content_category")},
            "ga4": {"params.items": NO_ITEMS, "params.page_title": "no key for it"},
            "tiktok": {f"properties.{key}": NO_ITEMS for key in _CONTENT},
        },
    ),
    "ga4": Said(
        {"query": urlencode(GA4)},
        differs={"ids.ga_measurement_id": "which property the hit is for; it may name the source"},
    ),
    "ga4 from a server": Said(
        {"body": MEASUREMENT_PROTOCOL, "route": "/mp/collect"},
        differs={"user.email": HASHED},
    ),
    "snowplow": Said(
        {"body": {"data": [_snowplow()]}, "headers": AGREED},
        differs={
            "props.payment_method": "the schema of a transaction wants one",
            "items": "each product has a currency of its own, and no properties of the site's",
        },
        sent={"ga4": {"params.payment_method": "the site's own properties go out as parameters"}},
    ),
    "data_tag": Said({"body": DATA_TAG}),
    "data_tag from an image": Said(
        {"method": "GET", "query": urlencode({"dtdc": b64encode(json.dumps(DATA_TAG).encode()).decode()})}
    ),
    "meta_pixel": Said(
        {"query": urlencode(META_PIXEL), "headers": AGREED},
        differs={"user.email": HASHED, "page.title": "no key for it", "items": UNNAMED},
        sent={
            "meta": {f"custom_data.{key}": UNNAMED for key in ("contents", "content_name", "content_category")},
            "ga4": {"params.items": UNNAMED, "params.page_title": "no key for it"},
            "tiktok": {"properties.contents": UNNAMED},
        },
    ),
    "shopify": Said(
        {"body": SHOPIFY, "topic": "orders/create"},
        differs={"items": CATALOGUE},
        sent=_ITEMS,
        order="1001",
        user="207119551",
    ),
    "woocommerce": Said(
        {"body": WOOCOMMERCE, "topic": "order.created"},
        differs={"items": CATALOGUE},
        sent=_ITEMS,
        user="25",
    ),
    "stripe": Said(
        {"body": STRIPE},
        differs={"items": NO_LINES, "props.coupon": NO_COUPON},
        sent={
            "meta": {f"custom_data.{key}": NO_LINES for key in (*_CONTENT, "content_name", "content_category")},
            "ga4": {"params.items": NO_LINES, "params.coupon": NO_COUPON},
            "tiktok": {f"properties.{key}": NO_LINES for key in _CONTENT},
        },
        user="cus_9",
    ),
}
"""Each way in; `X from Y` is another form of the dialect X."""


def native_of(dialect: str) -> Event:
    """The purchase of a dialect's row, in the native dialect."""
    row = DIALECTS[dialect]
    props = {**PURCHASE["props"], "transaction_id": row.order}
    return _event("json", {"body": {**PURCHASE, "id": row.order, "user": {**PURCHASE["user"], "id": row.user}, "props": props}})


def event_of(dialect: str) -> Event:
    """The canonical event, consent decided."""
    return _after_the_browser(dialect) if dialect in SHOPS else _event(dialect, DIALECTS[dialect].hit)


def _event(dialect: str, given: dict[str, Any]) -> Event:
    data, request = _made(dialect, {**BROWSER, **given})
    data = enrich(data, request)
    return Event({**data, "consent": decide(data, request, SourceConsent())})


def _made(dialect: str, given: dict[str, Any]) -> tuple[dict[str, Any], Hit]:
    request = hit(dialect.partition(" ")[0], given)
    [raw] = DECODERS[dialect.partition(" ")[0]](request)
    assert isinstance(raw, RawEvent)
    made = normalise(raw, request, RECEIVED)
    assert isinstance(made, Normalised)
    assert made.dropped == ()
    return made.data, request


def _after_the_browser(shop: str) -> Event:
    """A shop's event, with what a hit of the browser left that named the order or its checkout."""
    seen = native_of(shop).data
    left = {**seen, "props": {"checkout_token": "token-1", "transaction_id": DIALECTS[shop].order}}
    data, request = _made(shop, DIALECTS[shop].hit)
    found = {one.key: one for one in checkout.contexts(b"salt", checkout.keys(b"salt", "shop", left), left)}
    carried = checkout.choose(b"salt", checkout.keys(b"salt", "shop", data), found, data)
    assert carried is not None
    data = enrich(checkout.fill(checkout.without_tokens(data), carried, RECEIVED), request)
    return Event({**data, "consent": decide(data, request, SourceConsent(), checkout.signals(carried))})


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of nested maps; a list is one value."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Paths of leaves that are not equal."""
    first, second = dict(leaves(dict(one))), dict(leaves(dict(other)))
    return {path for path in first.keys() | second.keys() if first.get(path, ...) != second.get(path, ...)}


def canonical(event: Event) -> dict[str, Any]:
    """What the purchase is: without the dialect's name, its leftovers, and who decided consent."""
    kept = {key: part for key, part in event.data.items() if key not in ("dialect", "raw")}
    return {**kept, "consent": {purpose: event.get("consent", purpose) for purpose in PURPOSES}}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_canonical_event_is_the_same(dialect: str) -> None:
    native = canonical(native_of(dialect))
    assert differences(native, canonical(event_of(dialect))) == set(DIALECTS[dialect].differs)


@pytest.mark.parametrize("vendor", ["meta", "ga4", "tiktok"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_vendor_gets_the_same(dialect: str, vendor: str) -> None:
    one = kit.ready(vendor, {"measurement_id": "G-OTHER00"} if vendor == "ga4" else None)
    made = []
    for event in (native_of(dialect), event_of(dialect)):
        parts = one.plan.parts(event, kit.NOW)
        assert isinstance(parts, list), parts
        assert len(parts) == 1
        made.append(parts[0])
    assert differences(made[0].payload, made[1].payload) == set(DIALECTS[dialect].sent.get(vendor, {}))
    assert made[0].envelope.key == made[1].envelope.key


def test_a_difference_is_seen() -> None:
    event = canonical(event_of("json"))
    assert differences(event, {**event, "props": {**event["props"], "value": 98.21}}) == {"props.value"}
    assert differences(event, {key: part for key, part in event.items() if key != "items"}) == {"items"}
