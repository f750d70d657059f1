"""What the webhooks of all shops have in common: amounts, people, and what a site wrote beside an order.

A shop's webhook knows the order and not the browser. What a site wants to go with it, it writes where its shop keeps such
notes (Shopify's cart attributes, WooCommerce's order meta, Stripe's metadata), under the names of NOTES; `_tw_consent` is
the visitor's choice in the words of our cookie. Whether somebody takes a newsletter is no consent to advertising: it is
read nowhere.

Tokens of a checkout or cart stand in `raw` until the intake has looked for the browser's context (gateway/checkout.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.errors import Malformed
from gateway.event import PURPOSES
from gateway.receive.body import parse
from gateway.receive.hit import Hit

Fields = Mapping[str, Any]
Data = dict[str, Any]
DIALECTS = frozenset({"shopify", "woocommerce", "stripe"})
ONCE = 47 * 3600.0
"""Seconds after its making in which an order is told of by a later webhook. Ids are remembered for 48 h: later the same
order would count again."""

NOTES: dict[str, tuple[str, str]] = {
    **{
        name: ("ids", name)
        for name in """fbp fbc fbclid gclid gbraid wbraid dclid ttclid ttp msclkid twclid li_fat_id epik rdt_cid sccid
        ga_client_id ga_session_id""".split()
    },
    "ga_session_number": ("session", "number"),
    "anonymous_id": ("user", "anonymous_id"),
    "page_url": ("page", "url"),
    "page_referrer": ("page", "referrer"),
    "ip": ("device", "ip"),
    "user_agent": ("device", "user_agent"),
    "checkout_token": ("raw", "checkout_token"),
    "cart_token": ("raw", "cart_token"),
}
"""A note's name, with any `_` before it taken off → section, key."""
_OWN_CHOICE = re.compile(r"v1\.([gdu]{4})\.\d{9,11}\.([ed])", re.ASCII)
_LETTERS = {"g": "granted", "d": "denied", "u": "unknown"}
_GA = re.compile(r"GA\d\.\d\.(\d+\.\d+)", re.ASCII)


def order_of(hit: Hit) -> Fields:
    """The body as an object. Raises Malformed."""
    body = parse(hit.body)
    if not isinstance(body, dict):
        raise Malformed("the body must be an object")
    return body


def mapping(value: object) -> Fields:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: object) -> list[Fields]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def first(*candidates: object) -> Any:
    """The first that is neither null nor empty text."""
    return next((value for value in candidates if value is not None and value != ""), None)


def text(value: object) -> str | None:
    """An id or word as text; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value).strip() or None


def amount(value: object) -> float | int | None:
    """`"42.50"` → 42.5; None for what is no number. Whole amounts stay whole."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if isinstance(value, (str, int, float)) else None
    except ValueError:
        return None
    if number is None or number != number or abs(number) > 1e12:
        return None
    number = round(number, 6)
    return int(number) if number == int(number) else number


def put(data: Data, section: str, **values: object) -> None:
    """Set what has a value and is not there yet."""
    for key, value in values.items():
        if value is not None and value != "":
            data.setdefault(section, {}).setdefault(key, value)


def notes(pairs: Iterable[tuple[object, object]], data: Data) -> None:
    """Take what a site wrote beside the order; it stands before what the shop itself says."""
    consent: dict[str, str] = {}
    for given, value in pairs:
        name = given.lstrip("_").lower() if isinstance(given, str) else ""
        word = text(value)
        if word is None:
            continue
        if name in NOTES:
            section, key = NOTES[name]
            data.setdefault(section, {})[key] = word
        elif name == "ga" and (match := _GA.fullmatch(word)):
            data.setdefault("ids", {})["ga_client_id"] = match[1]
        elif name == "tw_consent" and (choice := _OWN_CHOICE.fullmatch(word)):
            said = {purpose: _LETTERS[letter] for purpose, letter in zip(PURPOSES[:4], choice[1], strict=True)}
            data["consent"] = {**said, "explicit": choice[2] == "e"}
        elif name in PURPOSES:
            consent[name] = word
    if consent:
        data["consent"] = {**data.get("consent", {}), **consent}
