"""One visitor, told twice: what the browser said during a checkout goes to the shop's own word of the order.

A shop's webhook comes from a server: it knows the order and neither cookies nor the visitor's choice. So a browser's hit
that names its checkout (`props.checkout_token`), cart (`props.cart_token`) or order (`props.transaction_id`) leaves a
context in the store for 48 hours, where its source takes webhooks of a shop; an event of a webhook that names the same one
takes over what it lacks: vendors' cookies and click ids, client id, session, address, agent, page, campaign, whereabouts, and
the visitor's consent.

- The last hit of a checkout counts, whole: nothing is put together out of several hits.
- A cart may be handed on: where hit and order both have an e-mail address and these differ, the cart carries nothing.
- Name, e-mail, phone and user id are never carried.
- A hit that no destination might have leaves its consent alone, so that a refusal is carried too.
- What the shop says itself stands first. Its landing page gives click ids and campaign where the browser has none.
- Consent of a context is a signal among others, by the names `checkout` and, where the page only had a default,
  `checkout default`. It can grant only what that visitor granted in that checkout.

Nothing waits: a webhook that is here before any hit of the browser goes without. Tokens of checkouts and carts open them
to whoever has one, so they are taken out of every event once its keys are made. All is pure; the intake reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from gateway.consent.signals import CARRIED, Signal
from gateway.enrich import urls
from gateway.event import PURPOSES
from gateway.queue.base import Context

MAX_BYTES = 8192
"""A larger context is not kept."""
_KEY_BYTES = 16
_TOKENS = frozenset(("checkout_token", "cart_token"))
_SECTIONS = ("ids", "session", "device", "geo", "campaign")
_MAX_TOKEN = 512


class Key(NamedTuple):
    """Under what a context is kept; `kind` is order, checkout or cart, from the narrowest to the widest."""

    kind: str
    digest: bytes


class Carried(NamedTuple):
    """What an event takes over: the sections it may fill, and the consent of that visitor."""

    sections: Mapping[str, Any]
    consent: Mapping[str, Any]
    kind: str
    at: float


def keys(salt: bytes, source: str, data: Mapping[str, Any]) -> tuple[Key, ...]:
    """The keys of an event: of its order, checkout and cart."""
    props, raw = data.get("props", {}), data.get("raw", {})
    named = (
        ("order", props.get("transaction_id")),
        ("checkout", raw.get("checkout_token") or props.get("checkout_token")),
        ("cart", raw.get("cart_token") or props.get("cart_token")),
    )
    return tuple(
        Key(kind, _digest(salt, source, kind, name))
        for kind, name in named
        if isinstance(name, str) and 0 < len(name) <= _MAX_TOKEN
    )


def without_tokens(data: dict[str, Any]) -> dict[str, Any]:
    """The event without tokens of checkout and cart; the same one where it has none."""
    for section in ("props", "raw"):
        held = data.get(section)
        if held and ("checkout_token" in held or "cart_token" in held):
            kept = {key: value for key, value in held.items() if key not in _TOKENS}
            data = {**data, section: kept}
            if not kept:
                del data[section]
    return data


def contexts(salt: bytes, named: Sequence[Key], data: Mapping[str, Any]) -> tuple[Context, ...]:
    """What a browser's event leaves behind, consent decided, under each of its keys."""
    page = data.get("page")
    anonymous = data.get("user", {}).get("anonymous_id")
    kept = {
        **{section: data[section] for section in _SECTIONS if section in data},
        **({"page": page} if page else {}),
        **({"user": {"anonymous_id": anonymous}} if anonymous else {}),
        "consent": data.get("consent", {}),
        "who": _people(salt, data),
    }
    body = orjson.dumps(kept)
    return tuple(Context(key.digest, body) for key in named) if len(body) <= MAX_BYTES else ()


def choose(salt: bytes, named: Sequence[Key], found: Mapping[bytes, Context], data: Mapping[str, Any]) -> Carried | None:
    """The latest of the contexts that an event may take over, the narrowest of several of one time."""
    best: Carried | None = None
    for key in named:
        context = found.get(key.digest)
        if context is None or (best is not None and best.at >= context.at):
            continue
        kept = orjson.loads(context.body)
        who, own = set(kept.pop("who", ())), set(_people(salt, data))
        if key.kind == "cart" and who and own and who.isdisjoint(own):
            continue
        best = Carried(kept, kept.pop("consent", {}), key.kind, context.at)
    return best


def fill(data: dict[str, Any], carried: Carried, received: float) -> dict[str, Any]:
    """A new event with what the context has and the event has not; `raw.carried` says from where."""
    landing = data.get("page", {}).get("url", "")
    ids, campaign = urls.read(landing) if "?" in landing else ({}, {})
    filled = dict(data)
    for section in (*_SECTIONS, "user"):
        held = {**carried.sections.get(section, {}), **data.get(section, {})}
        if section == "geo" and data.get("geo"):
            held = data["geo"]
        if held:
            filled[section] = held
    if "page" in carried.sections:
        filled["page"] = {**data.get("page", {}), **carried.sections["page"]}
    if ids:
        filled["ids"] = {**ids, **filled.get("ids", {})}
    if campaign and "campaign" not in filled:
        filled["campaign"] = campaign
    told = f"{carried.kind}, {max(0, round(received - carried.at))} s before"
    return {**filled, "raw": {**data.get("raw", {}), "carried": told}}


def signals(carried: Carried) -> tuple[Signal, ...]:
    """The consent of a context: what the visitor chose, and what only stood there by default."""
    block = carried.consent
    chosen = {p for source in block.get("sources", ()) if source.get("explicit") for p in source.get("purposes", ())}
    said = {purpose: block[purpose] for purpose in PURPOSES if block.get(purpose, "unknown") != "unknown"}
    found = [
        Signal(
            "checkout",
            CARRIED,
            {purpose: choice for purpose, choice in said.items() if purpose in chosen},
            opt_out=block.get("sale_opt_out"),
        ),
        Signal(
            "checkout default",
            CARRIED,
            {purpose: choice for purpose, choice in said.items() if purpose not in chosen},
            explicit=False,
        ),
    ]
    strings = [one["string"] for one in block.get("tcf", {}).get("strings", ())]
    found += [Signal("checkout", CARRIED, {}, tcf=text) for text in strings]
    return tuple(signal for signal in found if signal.choices or signal.opt_out is not None or signal.tcf)


def _people(salt: bytes, data: Mapping[str, Any]) -> list[str]:
    """Keyed hashes of the e-mail addresses of an event."""
    emails = data.get("user", {}).get("email", ())
    given = emails if isinstance(emails, (list, tuple)) else [emails]
    return [_digest(salt, "", "email", email.strip().lower()).hex() for email in given]


def _digest(salt: bytes, source: str, kind: str, value: str) -> bytes:
    return blake2b(f"{source}\0{kind}\0{value}".encode("utf-8", "replace"), key=salt, digest_size=_KEY_BYTES).digest()
