"""WooCommerce's webhooks: `POST /hooks/woocommerce/{source}`; the topic stands in `X-WC-Webhook-Topic` (docs/woocommerce.md).

    order.created, order.updated   purchase   id = transaction_id = the order's number
                                   refund     id = the refund's id, transaction_id = the order's number

- An order is a purchase while it is `processing`, `completed` or `on-hold`, and only within 47 hours of its making: a
  webhook comes for every change of an order, and ids are remembered for 48 hours. An order that is only paid after that
  is not counted; one that failed or waits for its payment is not counted yet.
- WooCommerce names an order's refunds in every webhook and dates none. A refund that carries `date_created_gmt` (the
  snippet of docs/woocommerce.md adds it) counts within 47 hours of it; refunds without a date count once the whole order is
  `refunded`.

What a site knows of the browser it writes in the order's meta data, whose names may begin with `_`; WooCommerce's own
order attribution gives the landing page, the referrer and the campaign.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.clock import parse_instant
from gateway.errors import Malformed, Refused
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.shop import ONCE, Data, Fields, amount, entries, first, mapping, notes, order_of, put, text
from gateway.receive.signatures import PING

_TOPICS = ("order.created", "order.updated", "order.restored")
_COUNTED = ("processing", "completed", "on-hold")
_ATTRIBUTION = "_wc_order_attribution_"
_CAMPAIGN = {
    "source": "utm_source",
    "medium": "utm_medium",
    "name": "utm_campaign",
    "term": "utm_term",
    "content": "utm_content",
}
_PLACEHOLDER = re.compile(r"\(.*\)|typein|organic|referral")
"""What the attribution writes where there was no such parameter."""


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """The purchase, or the refunds of the order. Raises Malformed where the body is no order."""
    if PING.fullmatch(hit.body.strip()):
        return []
    topic = hit.headers.get("x-wc-webhook-topic", "").strip().lower()
    if not topic:
        raise Malformed("X-WC-Webhook-Topic is missing")
    order = order_of(hit)
    if topic not in _TOPICS:
        return []
    number = first(text(order.get("number")), text(order.get("id")))
    if number is None:
        raise Malformed("the id of the order is missing")
    if order.get("status") in _COUNTED and _age(order.get("date_created_gmt"), hit.received) <= ONCE:
        return [_purchase(order, number, topic), *_refunds(order, number, topic, hit.received)]
    return _refunds(order, number, topic, hit.received)


def _utc(value: object) -> str | None:
    """`2026-11-24T10:00:00`, which WooCommerce means as UTC."""
    word = text(value)
    return f"{word}Z" if word and not word.endswith("Z") and "+" not in word else word


def _age(value: object, now: float) -> float:
    try:
        return now - parse_instant(_utc(value) or "")
    except (ValueError, OverflowError):
        return 0.0


def _purchase(order: Fields, number: str, topic: str) -> RawEvent:
    data: Data = {"raw": {"topic": topic, "status": order.get("status")}}
    meta = _meta(order)
    notes(meta.items(), data)
    _money(order, data, number)
    items = [_item(line) for line in entries(order.get("line_items"))]
    if items:
        data["items"] = items
    _customer(order, data)
    _browser(order, meta, data)
    time = _utc(first(order.get("date_created_gmt"), order.get("date_paid_gmt")))
    return RawEvent("woocommerce", "purchase", data, id=number, time=time, historic=True)


def _refunds(order: Fields, number: str, topic: str, now: float) -> list[RawEvent | Refused]:
    if topic != "order.updated":
        return []
    whole = order.get("status") == "refunded"
    events: list[RawEvent | Refused] = []
    for refund in entries(order.get("refunds")):
        made = _utc(refund.get("date_created_gmt"))
        if (_age(made, now) <= ONCE if made else whole) and (event := _refund(order, number, topic, refund, made)):
            events.append(event)
    return events


def _refund(order: Fields, number: str, topic: str, refund: Fields, made: str | None) -> RawEvent | None:
    refund_id, total = text(refund.get("id")), amount(refund.get("total"))
    if refund_id is None or total is None:
        return None
    data: Data = {"props": {"transaction_id": number, "value": abs(total)}, "raw": {"topic": topic}}
    put(data, "props", currency=order.get("currency"))
    _customer(order, data)
    notes(_meta(order).items(), data)
    time = made or _utc(order.get("date_modified_gmt"))
    return RawEvent("woocommerce", "refund", data, id=refund_id, time=time, historic=True)


def _meta(order: Fields) -> dict[str, Any]:
    return {key: one.get("value") for one in entries(order.get("meta_data")) if isinstance(key := one.get("key"), str)}


def _money(order: Fields, data: Data, number: str) -> None:
    put(data, "props", transaction_id=number, value=amount(order.get("total")), currency=order.get("currency"))
    put(data, "props", tax=amount(order.get("total_tax")), shipping=amount(order.get("shipping_total")))
    put(data, "props", discount=amount(order.get("discount_total")) or None, payment_method=order.get("payment_method"))
    codes = [code for one in entries(order.get("coupon_lines")) if (code := text(one.get("code")))]
    put(data, "props", coupon=",".join(codes))


def _item(line: Fields) -> dict[str, Any]:
    """A line; its price is that of a piece before discounts, without taxes, as WooCommerce keeps it."""
    variation = line.get("variation_id")
    quantity = amount(line.get("quantity"))
    before, paid = amount(line.get("subtotal")), amount(line.get("total"))
    item = {
        "id": first(text(variation) if variation else None, text(line.get("product_id")), text(line.get("sku"))),
        "name": first(line.get("parent_name"), line.get("name")),
        "price": amount(before / quantity) if before is not None and quantity else amount(line.get("price")),
        "quantity": quantity,
        "discount": amount((before - paid) / quantity) if before and paid is not None and quantity and before > paid else None,
        "sku": line.get("sku"),
        "product_id": text(line.get("product_id")),
    }
    return {key: value for key, value in item.items() if value is not None and value != ""}


def _customer(order: Fields, data: Data) -> None:
    billing, shipping = mapping(order.get("billing")), mapping(order.get("shipping"))
    put(data, "user", id=text(order.get("customer_id") or None), email=billing.get("email"))
    put(data, "user", phone=first(billing.get("phone"), shipping.get("phone")))
    for field, key in (("first_name", "first_name"), ("last_name", "last_name"), ("street", "address_1"), ("city", "city")):
        put(data, "user", **{field: first(billing.get(key), shipping.get(key))})
    for field, key in (("state", "state"), ("zip", "postcode"), ("country", "country")):
        put(data, "user", **{field: first(billing.get(key), shipping.get(key))})


def _browser(order: Fields, meta: Fields, data: Data) -> None:
    put(data, "device", ip=order.get("customer_ip_address"))
    put(data, "device", user_agent=first(order.get("customer_user_agent"), meta.get(f"{_ATTRIBUTION}user_agent")))
    put(data, "page", url=_web(meta.get(f"{_ATTRIBUTION}session_entry")), referrer=_web(meta.get(f"{_ATTRIBUTION}referrer")))
    if meta.get(f"{_ATTRIBUTION}source_type") == "utm":
        said = {field: text(meta.get(_ATTRIBUTION + key)) for field, key in _CAMPAIGN.items()}
        put(data, "campaign", **{field: word for field, word in said.items() if word and not _PLACEHOLDER.fullmatch(word)})
    put(data, "raw", created_via=order.get("created_via"))


def _web(value: object) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None
