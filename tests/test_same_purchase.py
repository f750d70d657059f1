"""One purchase, told in every dialect by the same browser: the same canonical event, hence the same payloads.

What a dialect cannot say, or says in its own way, is written down as an exception: the exact differences from the native
event, no more and no fewer, first of the event, then of each vendor's payload.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from gateway.enrich import enrich
from gateway.normalise import Normalised, normalise
from gateway.receive.hit import RawEvent
from tests.destination_kit import GRANTED, parts, ready
from tests.receive_cases import DECODERS, RECEIVED, hit

BROWSER = {
    "ip": "203.0.113.7",
    "headers": {
        "origin": "https://shop.example",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
        "accept-language": "en-GB,en;q=0.8",
        "cookie": "_fbp=fb.1.1697040000000.1234567890; _ga=GA1.1.1098115397.1795514300; _ttp=2abcdefghijklmnop",
    },
}
URL, REFERRER, TITLE = (
    "https://shop.example/thanks?utm_source=news&gclid=Cj0KabcdefGHIJ1234567",
    "https://shop.example/cart",
    "Thanks",
)
MAIL = "jane@example.com"
MAIL_HASH = hashlib.sha256(MAIL.encode()).hexdigest()
HAPPENED = 1795514370000
"""2026-11-24T09:59:30Z in milliseconds."""
ITEMS: list[dict[str, Any]] = [
    {"id": "sku-1", "name": "Cup", "brand": "Acme", "category": "Kitchen", "variant": "red", "price": 20.5, "quantity": 2},
    {"id": "sku-2", "name": "Lid", "brand": "Acme", "category": "Kitchen", "variant": "blue", "price": 1.5, "quantity": 1},
]
ORDER = {"value": 47.4, "currency": "EUR", "tax": 6.4, "shipping": 4.9, "coupon": "SAVE"}
GA_ITEMS = [{key if key in ("price", "quantity") else f"item_{key}": value for key, value in item.items()} for item in ITEMS]


def _snowplow() -> dict[str, Any]:
    vendor = "iglu:com.snowplowanalytics.snowplow.ecommerce"

    def entity(name: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"schema": f"{vendor}/{name}/jsonschema/1-0-0", "data": data}

    order = {"transaction_id": "o-1", "revenue": 47.4, "currency": "EUR", "tax": 6.4, "shipping": 4.9, "discount_code": "SAVE"}
    entities = [
        entity("transaction", {**order, "payment_method": "card", "total_quantity": 3}),
        *(entity("product", {**item, "currency": "EUR"}) for item in ITEMS),
        entity("user", {"id": "u-1", "email": MAIL}),
    ]
    action = {"schema": f"{vendor}/snowplow_ecommerce_action/jsonschema/1-0-2", "data": {"type": "transaction"}}
    payload = {
        "e": "ue",
        "p": "web",
        "tv": "js-4.10.1",
        "eid": "p-1",
        "dtm": str(HAPPENED),
        "url": URL,
        "refr": REFERRER,
        "page": TITLE,
        "ue_pr": json.dumps({"schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", "data": action}),
        "co": json.dumps({"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0", "data": entities}),
    }
    return {"body": {"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [payload]}}


def _segment() -> dict[str, Any]:
    products = [{**item, "product_id": item["id"]} for item in ITEMS]
    for product in products:
        del product["id"]
    return {
        "body": {
            "type": "track",
            "event": "Order Completed",
            "messageId": "p-1",
            "userId": "u-1",
            "timestamp": "2026-11-24T09:59:30.000Z",
            "properties": {**ORDER, "order_id": "o-1", "products": products},
            "context": {"page": {"url": URL, "referrer": REFERRER, "title": TITLE}, "traits": {"email": MAIL}},
        }
    }


def _data_tag(*, get: bool) -> dict[str, Any]:
    event = {
        "event_name": "purchase",
        "event_id": "p-1",
        "timestamp": HAPPENED // 1000,
        "page_location": URL,
        "page_referrer": REFERRER,
        "page_title": TITLE,
        "user_id": "u-1",
        "user_data": {"email_address": MAIL},
        "transaction_id": "o-1",
        **ORDER,
        "items": GA_ITEMS,
    }
    if not get:
        return {"body": event}
    return {"method": "GET", "query": urlencode({"event": "purchase", "dtdc": b64encode(json.dumps(event).encode()).decode()})}


def _meta_pixel() -> dict[str, Any]:
    contents = [{"id": item["id"], "quantity": item["quantity"], "item_price": item["price"]} for item in ITEMS]
    fields = {
        "id": "123456789012345",
        "ev": "Purchase",
        "eid": "p-1",
        "ts": HAPPENED,
        "dl": URL,
        "rl": REFERRER,
        "ud[em]": MAIL_HASH,
        "ud[external_id]": "u-1",
        "cd[order_id]": "o-1",
        "cd[contents]": json.dumps(contents),
        "cd[content_type]": "product",
        **{f"cd[{key}]": value for key, value in ORDER.items()},
    }
    return {"query": urlencode(fields)}


def _pixel() -> dict[str, Any]:
    order = {key: value for key, value in ORDER.items() if key not in ("value", "currency")}
    fields = {"e": "purchase", "eid": "p-1", "t": HAPPENED, "u": URL, "r": REFERRER, "uid": "u-1", "em": MAIL_HASH}
    return {"query": urlencode({**fields, "oid": "o-1", "v": 47.4, "c": "EUR", **{f"cd.{key}": v for key, v in order.items()}})}


TOLD: dict[str, tuple[str, dict[str, Any]]] = {
    "segment": ("segment", _segment()),
    "snowplow": ("snowplow", _snowplow()),
    "data tag, POST": ("data_tag", _data_tag(get=False)),
    "data tag, GET": ("data_tag", _data_tag(get=True)),
    "meta pixel": ("meta_pixel", _meta_pixel()),
    "pixel": ("pixel", _pixel()),
}
NATIVE = {
    "body": {
        "name": "purchase",
        "id": "p-1",
        "time": "2026-11-24T09:59:30.000Z",
        "user": {"id": "u-1", "email": MAIL},
        "page": {"url": URL, "referrer": REFERRER, "title": TITLE},
        "props": {**ORDER, "transaction_id": "o-1"},
        "items": ITEMS,
    }
}

_UNNAMED_ITEMS = {f"items.{n}.{key}" for n in (0, 1) for key in ("name", "brand", "category", "variant")}
_NO_ITEMS = _UNNAMED_ITEMS | {f"items.{n}.{key}" for n in (0, 1) for key in ("id", "price", "quantity")}
EVENT_DIFFERS: dict[str, set[str]] = {
    # the plug-in wants a way of payment, and says the currency of each product
    "snowplow": {"props.payment_method", "items.0.currency", "items.1.currency"},
    # the pixel knows no title, hashes the address in the page, and has an id, quantity and price of a product alone
    "meta pixel": {"page.title", "user.email", "props.content_type", *_UNNAMED_ITEMS},
    # an image has no room for a title and products, and takes hashed addresses alone
    "pixel": {"page.title", "user.email", *_NO_ITEMS},
}


def _of_items(prefix: str, *keys: str) -> set[str]:
    return {f"{prefix}.{n}.{key}" for n in (0, 1) for key in keys}


_GA4_NAMES = _of_items("params.items", "item_name", "item_brand", "item_category", "item_variant")
_META_NAMES = {"custom_data.content_name", "custom_data.content_category"} | _of_items(
    "custom_data.contents", "title", "brand", "category"
)
_TIKTOK_NAMES = _of_items("properties.contents", "content_name", "content_category", "brand")
PAYLOAD_DIFFERS: dict[tuple[str, str], set[str]] = {
    ("ga4", "snowplow"): {"params.payment_method"},
    ("ga4", "meta pixel"): {"params.page_title", "params.content_type", *_GA4_NAMES},
    ("meta", "meta pixel"): _META_NAMES,
    ("tiktok", "meta pixel"): _TIKTOK_NAMES,
    ("ga4", "pixel"): {
        "params.page_title",
        *_GA4_NAMES,
        *_of_items("params.items", "item_id", "price", "quantity", "currency"),
    },
    ("meta", "pixel"): {
        *_META_NAMES,
        *_of_items("custom_data.contents", "id", "quantity", "item_price"),
        *(f"custom_data.{key}" for key in ("content_ids.0", "content_ids.1", "content_type", "num_items")),
    },
    ("tiktok", "pixel"): {
        *_TIKTOK_NAMES,
        *_of_items("properties.contents", "content_id", "quantity", "price"),
        *(f"properties.{key}" for key in ("content_ids.0", "content_ids.1", "content_type", "num_items")),
    },
}


def canonical(dialect: str, given: dict[str, Any]) -> dict[str, Any]:
    """The event of the hit, granted, without what names the way it came."""
    request = hit(dialect, json.loads(json.dumps({**BROWSER, **given})))
    [raw] = DECODERS[dialect](request)
    assert isinstance(raw, RawEvent), raw
    made = normalise(raw, request, RECEIVED)
    assert isinstance(made, Normalised), made
    assert not made.dropped
    event: dict[str, Any] = orjson.loads(orjson.dumps(enrich(made.data, request)))
    return {**event, "consent": GRANTED}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no map or list, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{n}")
    else:
        yield path, value


def differences(one: Any, other: Any) -> set[str]:
    """Paths at which two values differ."""
    a, b = dict(leaves(one)), dict(leaves(other))
    return {path for path in a.keys() | b.keys() if a.get(path) != b.get(path)}


@pytest.mark.parametrize("name", TOLD)
def test_a_purchase_is_the_same_event_in_every_dialect(name: str) -> None:
    native = canonical("json", NATIVE)
    found = canonical(*TOLD[name])
    differ = {path for path in differences(native, found) if path != "dialect" and not path.startswith("raw.")}
    assert differ == EVENT_DIFFERS.get(name, set())


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("vendor", ["meta", "ga4", "tiktok"])
def test_a_purchase_is_the_same_payload_in_every_dialect(vendor: str, name: str) -> None:
    plan = ready(vendor)
    [expected] = parts(plan, canonical("json", NATIVE))
    [found] = parts(plan, canonical(*TOLD[name]))
    assert differences(orjson.loads(expected.body), orjson.loads(found.body)) == PAYLOAD_DIFFERS.get((vendor, name), set())
