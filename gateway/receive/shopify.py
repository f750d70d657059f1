"""Shopify's webhooks: `POST /hooks/shopify/{source}`; the topic stands in `X-Shopify-Topic` (docs/shopify.md).

    orders/create, orders/paid   purchase          id = transaction_id = the order's id
    refunds/create               refund            id = the refund's id, transaction_id = the order's
    orders/cancelled             order_cancelled   id = transaction_id = the order's id
    checkouts/create             begin_checkout    id = the checkout's token

These are the ids that the custom pixel of `tagway init --shopify` gives its own events. Any other topic is no event; nor is
`orders/paid` of an order made more than 47 hours before: `orders/create` has told of it, and ids are remembered for 48.

Amounts are those that the customer saw (`presentment_money`). An item's id is its variant's, as in catalogues. Orders of
a test gateway and notifications of the admin's test button (`X-Shopify-Test`) carry `raw.test`. `buyer_accepts_marketing` is
about newsletters and is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from gateway.clock import parse_instant
from gateway.errors import Malformed, Refused
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.shop import ONCE, Data, Fields, amount, entries, first, mapping, notes, order_of, put, text

_ADDRESS = {"street": "address1", "city": "city", "zip": "zip"}


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """At most one event. Raises Malformed where the body is no order."""
    topic = hit.headers.get("x-shopify-topic", "").strip().lower()
    if not topic:
        raise Malformed("X-Shopify-Topic is missing")
    body = order_of(hit)
    if topic == "orders/paid" and _age(body, hit.received) > ONCE:
        return []
    make = _TOPICS.get(topic)
    if make is None:
        return []
    event = make(body, topic)
    if hit.headers.get("x-shopify-test", "").strip().lower() == "true":
        event.data["raw"]["test"] = True
    return [event]


def _age(order: Fields, now: float) -> float:
    try:
        return now - parse_instant(str(order.get("created_at")))
    except (ValueError, OverflowError):
        return 0.0


def _purchase(order: Fields, topic: str) -> RawEvent:
    return _event("purchase", order, topic, first(order.get("processed_at"), order.get("created_at")))


def _cancelled(order: Fields, topic: str) -> RawEvent:
    return _event("order_cancelled", order, topic, order.get("cancelled_at"))


def _event(name: str, order: Fields, topic: str, time: Any) -> RawEvent:
    order_id = _id(order.get("id"))
    data = _common(order, topic)
    put(data, "props", transaction_id=order_id, order_name=order.get("name"))
    put(data, "props", payment_method=first(*_texts(order.get("payment_gateway_names"))))
    put(data, "raw", checkout_token=order.get("checkout_token"), financial_status=order.get("financial_status"))
    return RawEvent("shopify", name, data, id=order_id, time=time, historic=True)


def _checkout(checkout: Fields, topic: str) -> RawEvent:
    token = text(checkout.get("token"))
    if token is None:
        raise Malformed("the checkout has no token")
    data = _common(checkout, topic)
    put(data, "raw", checkout_token=token)
    return RawEvent("shopify", "begin_checkout", data, id=token, time=checkout.get("created_at"), historic=True)


def _refund(refund: Fields, topic: str) -> RawEvent:
    refund_id, order_id = _id(refund.get("id")), _id(refund.get("order_id"))
    paid = [one for one in entries(refund.get("transactions")) if one.get("kind") == "refund" and _went_through(one)]
    amounts = [value for one in paid if (value := amount(one.get("amount"))) is not None]
    lines = entries(refund.get("refund_line_items"))
    data: Data = {"props": {"transaction_id": order_id}, "raw": {"topic": topic}}
    if amounts:
        put(data, "props", value=amount(sum(amounts)))
    put(data, "props", currency=first(*(one.get("currency") for one in paid)))
    if not amounts:
        put(data, "props", value=amount(sum(_line_amount(line) for line in lines)), currency=_line_currency(lines))
    if any(one.get("test") is True for one in paid):
        data["raw"]["test"] = True
    items = [_item({**mapping(line.get("line_item")), "quantity": line.get("quantity")}) for line in lines]
    if items:
        data["items"] = items
    time = first(refund.get("processed_at"), refund.get("created_at"))
    return RawEvent("shopify", "refund", data, id=refund_id, time=time, historic=True)


def _went_through(transaction: Fields) -> bool:
    return transaction.get("status") in (None, "success")


def _line_amount(line: Fields) -> float:
    """What came back for a line, with the taxes that its price leaves out."""
    return float(_money(line, "subtotal") or 0)


def _line_currency(lines: list[Fields]) -> str | None:
    return next((code for line in lines if (code := _currency(line, "subtotal"))), None)


_TOPICS: dict[str, Callable[[Fields, str], RawEvent]] = {
    "orders/create": _purchase,
    "orders/paid": _purchase,
    "orders/cancelled": _cancelled,
    "refunds/create": _refund,
    "checkouts/create": _checkout,
}


def _id(value: object) -> str:
    """A numeric id, also out of `gid://shopify/Order/1`. Raises Malformed."""
    found = (text(value) or "").partition("?")[0].rpartition("/")[2]
    if not (found.isascii() and found.isdecimal()):
        raise Malformed("the id of the order is missing")
    return found


def _common(order: Fields, topic: str) -> Data:
    """What an order and a checkout both say."""
    data: Data = {"raw": {"topic": topic}}
    attributes = order.get("note_attributes")
    notes(((one.get("name"), one.get("value")) for one in entries(attributes)), data)
    _money_of(order, data)
    items = [_item(line) for line in entries(order.get("line_items"))]
    if items:
        data["items"] = items
    _customer(order, data)
    _browser(order, data)
    put(data, "raw", cart_token=order.get("cart_token"), source_name=order.get("source_name"))
    if order.get("test") is True:
        data["raw"]["test"] = True
    return data


def _money_of(order: Fields, data: Data) -> None:
    put(data, "props", value=_money(order, "total_price"))
    put(
        data, "props", currency=first(_currency(order, "total_price"), order.get("presentment_currency"), order.get("currency"))
    )
    put(data, "props", tax=_money(order, "total_tax"), shipping=_shipping(order))
    discount = _money(order, "total_discounts")
    put(data, "props", discount=discount or None)
    codes = [code for one in entries(order.get("discount_codes")) if (code := text(one.get("code")))]
    put(data, "props", coupon=",".join(codes))


def _set(fields: Fields, key: str) -> Fields:
    """The amount as the customer saw it."""
    return mapping(mapping(fields.get(f"{key}_set")).get("presentment_money"))


def _money(fields: Fields, key: str) -> float | int | None:
    shown = amount(_set(fields, key).get("amount"))
    return amount(fields.get(key)) if shown is None else shown


def _currency(fields: Fields, key: str) -> str | None:
    return text(_set(fields, key).get("currency_code"))


def _shipping(order: Fields) -> float | int | None:
    total = _money(order, "total_shipping_price")
    if total is not None:
        return total
    prices = [price for line in entries(order.get("shipping_lines")) if (price := _money(line, "price")) is not None]
    return amount(sum(prices)) if prices else None


def _item(line: Fields) -> dict[str, Any]:
    item = {
        "id": first(text(line.get("variant_id")), text(line.get("product_id")), text(line.get("sku"))),
        "name": first(line.get("title"), line.get("name")),
        "brand": line.get("vendor"),
        "variant": line.get("variant_title"),
        "price": _money(line, "price"),
        "quantity": line.get("quantity"),
        "discount": _discount(line),
        "sku": line.get("sku"),
        "product_id": text(line.get("product_id")),
    }
    return {key: value for key, value in item.items() if value is not None and value != ""}


def _discount(line: Fields) -> float | int | None:
    """What a piece of the line costs less."""
    quantity = amount(line.get("quantity"))
    off = sum(float(_money(one, "amount") or 0) for one in entries(line.get("discount_allocations")))
    return amount(off / quantity) if off and quantity else None


def _customer(order: Fields, data: Data) -> None:
    customer, billing, shipping = (mapping(order.get(key)) for key in ("customer", "billing_address", "shipping_address"))
    put(data, "user", id=text(customer.get("id")))
    put(data, "user", email=first(order.get("email"), order.get("contact_email"), customer.get("email")))
    people = (billing, shipping, customer)
    put(data, "user", phone=first(order.get("phone"), *(one.get("phone") for one in people)))
    for name in ("first_name", "last_name"):
        put(data, "user", **{name: first(*(one.get(name) for one in people))})
    address = next((one for one in (billing, shipping, mapping(customer.get("default_address"))) if one), {})
    put(data, "user", **{field: address.get(key) for field, key in _ADDRESS.items()})
    put(data, "user", state=first(address.get("province_code"), address.get("province")))
    put(data, "user", country=first(address.get("country_code"), address.get("country")))


def _browser(order: Fields, data: Data) -> None:
    details = mapping(order.get("client_details"))
    language = text(details.get("accept_language")) or ""
    put(data, "device", ip=first(details.get("browser_ip"), order.get("browser_ip")), user_agent=details.get("user_agent"))
    put(data, "device", language=first(language.partition(",")[0].partition(";")[0], order.get("customer_locale")))
    put(data, "device", viewport_width=details.get("browser_width"), viewport_height=details.get("browser_height"))
    put(data, "page", url=_landing(order), referrer=_absolute(order.get("referring_site")))


def _landing(order: Fields) -> str | None:
    """The page on which the visit began, which holds the click ids; a path alone is on the shop's own domain."""
    landing = text(order.get("landing_site"))
    if landing is None or _absolute(landing):
        return landing
    try:
        shop = urlsplit(text(order.get("order_status_url")) or text(order.get("abandoned_checkout_url")) or "")
        return urljoin(f"{shop.scheme}://{shop.netloc}", landing) if shop.netloc and landing.startswith("/") else None
    except ValueError:  # either of them is no URL: a bracket too many in the host
        return None


def _absolute(url: object) -> str | None:
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None


def _texts(values: object) -> Iterator[str]:
    for value in values if isinstance(values, list) else ():
        if word := text(value):
            yield word
