"""Stripe's webhooks: `POST /hooks/stripe/{source}`; the type stands in the body (docs/stripe.md).

    checkout.session.completed, .async_payment_succeeded   purchase, once it is paid
    payment_intent.succeeded                                purchase
    charge.refunded                                         refund

The id of a purchase, which is its transaction_id too, is `order_id` or `transaction_id` of the object's metadata, else the
payment intent, else (a subscription's) invoice, else the session itself: a session and its payment intent are one purchase.
`client_reference_id` may be a customer's and is never an id. A refund's id is that of the newest refund, else of the event.

Amounts come in the smallest unit of their currency. `livemode: false` marks the event with `raw.test`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.errors import Malformed, Refused
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.shop import Data, Fields, entries, first, mapping, notes, order_of, put, text

_WHOLE = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
"""Currencies without a smaller unit. (ISK and UGX have none either, but Stripe writes them with two decimals.)"""
_THOUSANDTHS = frozenset("BHD JOD KWD OMR TND".split())
_ORDER_NOTES = ("order_id", "transaction_id")
_PAID = ("paid", "no_payment_required")


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """At most one event. Raises Malformed where the body is no event of Stripe's."""
    body = order_of(hit)
    kind, thing = text(body.get("type")), mapping(mapping(body.get("data")).get("object"))
    if kind is None:
        raise Malformed("the body is no event")
    make = _TYPES.get(kind) if body.get("object") == "event" else None
    if make is None:
        return []
    if text(thing.get("id")) is None:
        raise Malformed("the id of the object is missing")
    event = make(body, thing)
    if event is None:
        return []
    event.data.setdefault("raw", {}).update(topic=kind)
    if body.get("livemode") is False:
        event.data["raw"]["test"] = True
    return [event]


def _session(body: Fields, session: Fields) -> RawEvent | None:
    """A Checkout Session; one that waits for its payment is told of again when that has come."""
    if session.get("payment_status") not in _PAID or session.get("mode") == "setup":
        return None
    data = _noted(session)
    totals, currency = mapping(session.get("total_details")), text(session.get("currency"))
    put(data, "props", value=_amount(session.get("amount_total"), currency), currency=_upper(currency))
    put(
        data,
        "props",
        tax=_amount(totals.get("amount_tax"), currency),
        shipping=_amount(totals.get("amount_shipping"), currency),
    )
    put(data, "props", discount=_amount(totals.get("amount_discount"), currency) or None)
    details = mapping(session.get("customer_details"))
    put(data, "user", email=session.get("customer_email"))
    _person(details, data)
    _person(mapping(first(session.get("shipping_details"), session.get("shipping"))), data)
    put(data, "user", id=_ref(session.get("customer")))
    put(data, "device", language=session.get("locale") if session.get("locale") != "auto" else None)
    items = [_line(line, currency) for line in entries(mapping(session.get("line_items")).get("data"))]
    if items:
        data["items"] = items
    put(data, "raw", checkout_token=text(session.get("id")), reference=text(session.get("client_reference_id")))
    paid_by = first(_ref(session.get("payment_intent")), _ref(session.get("invoice")), text(session.get("id")))
    return _purchase(data, session, paid_by, body.get("created"))


def _intent(body: Fields, intent: Fields) -> RawEvent:
    """A PaymentIntent, of a site that takes payments without a session."""
    data = _noted(intent)
    currency = text(intent.get("currency"))
    got = first(intent.get("amount_received"), intent.get("amount"))
    put(data, "props", value=_amount(got, currency), currency=_upper(currency))
    put(data, "user", email=intent.get("receipt_email"))
    charge = mapping(first(intent.get("latest_charge"), *entries(mapping(intent.get("charges")).get("data"))))
    _person(mapping(charge.get("billing_details")), data)
    _person(mapping(intent.get("shipping")), data)
    put(data, "user", id=_ref(intent.get("customer")))
    return _purchase(data, intent, text(intent.get("id")), body.get("created"))


def _purchase(data: Data, thing: Fields, paid_by: str | None, time: Any) -> RawEvent:
    order = _order(thing) or paid_by
    put(data, "props", transaction_id=order)
    return RawEvent("stripe", "purchase", data, id=order, time=time, historic=True)


def _refunded(body: Fields, charge: Fields) -> RawEvent:
    """A charge of which more came back than before: the difference is this refund."""
    data = _noted(charge)
    currency = text(charge.get("currency"))
    before = mapping(mapping(body.get("data")).get("previous_attributes")).get("amount_refunded", 0)
    total = charge.get("amount_refunded")
    if not _is_amount(before) or not _is_amount(total):
        raise Malformed("the refunded amount is missing")
    put(data, "props", value=_amount(total - before, currency), currency=_upper(currency))
    put(data, "props", transaction_id=first(_order(charge), _ref(charge.get("payment_intent")), text(charge.get("id"))))
    put(data, "user", email=charge.get("receipt_email"))
    _person(mapping(charge.get("billing_details")), data)
    put(data, "user", id=_ref(charge.get("customer")))
    newest = max(entries(mapping(charge.get("refunds")).get("data")), key=_created, default={})
    return RawEvent(
        "stripe", "refund", data, id=first(newest.get("id"), body.get("id")), time=body.get("created"), historic=True
    )


_TYPES: dict[str, Callable[[Fields, Fields], RawEvent | None]] = {
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "payment_intent.succeeded": _intent,
    "charge.refunded": _refunded,
}


def _noted(thing: Fields) -> Data:
    data: Data = {}
    notes(mapping(thing.get("metadata")).items(), data)
    return data


def _order(thing: Fields) -> str | None:
    noted = mapping(thing.get("metadata"))
    return text(first(*(noted.get(name) for name in _ORDER_NOTES)))


def _ref(value: object) -> str | None:
    """The id of another object, be it named or written out."""
    return text(value.get("id")) if isinstance(value, dict) else text(value)


def _created(refund: Fields) -> int:
    made = refund.get("created")
    return made if isinstance(made, int) else 0


def _is_amount(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _amount(value: object, currency: str | None) -> float | int | None:
    if not isinstance(value, int) or isinstance(value, bool) or currency is None:
        return None
    unit = 1 if currency.upper() in _WHOLE else 1000 if currency.upper() in _THOUSANDTHS else 100
    return value // unit if value % unit == 0 else round(value / unit, 3)


def _upper(currency: str | None) -> str | None:
    return currency.upper() if currency else None


def _person(details: Fields, data: Data) -> None:
    """Name, e-mail, phone and address, as billing, shipping and customer details write them."""
    put(data, "user", email=details.get("email"), phone=details.get("phone"))
    names = (text(details.get("name")) or "").split()
    if len(names) == 2 and not data.get("user", {}).keys() & {"first_name", "last_name"}:
        put(data, "user", first_name=names[0], last_name=names[1])
    address = mapping(details.get("address"))
    if not data.get("user", {}).keys() & {"street", "city", "zip"}:
        put(data, "user", street=address.get("line1"), city=address.get("city"), zip=address.get("postal_code"))
        put(data, "user", state=address.get("state"), country=address.get("country"))


def _line(line: Fields, currency: str | None) -> dict[str, Any]:
    """A line of a session, where the site has expanded them."""
    price = mapping(line.get("price"))
    item = {
        "id": first(_ref(price.get("product")), _ref(price)),
        "name": line.get("description"),
        "price": _amount(price.get("unit_amount"), currency),
        "quantity": line.get("quantity"),
    }
    return {key: value for key, value in item.items() if value is not None and value != ""}
