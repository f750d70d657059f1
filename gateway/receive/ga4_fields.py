"""Where the parameters of a `/g/collect` event stand in the canonical event: tables, and the few rules no table can say.

What no field holds goes to `raw` under its own name, flags without a value as true: first what says consent, last what
only Google can read, so that a hit of more than fifty such parameters loses the least. User data goes to `user` alone.

Three names mean two things. `cs` and `cn` are a campaign's source and name, but creative slot and name of a promotion
event, where only those beside its `en` count; inside an item they are the item's (gateway/receive/ga4_items.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from gateway.receive.ga4_items import item
from gateway.receive.ga4_user import USER_DATA, add_plain, from_hashes

Given = Mapping[str, str | bool]
Data = dict[str, dict[str, Any]]

PLACES: dict[str, tuple[str, str]] = {
    "uid": ("user", "id"),
    "cid": ("ids", "ga_client_id"),
    "tid": ("ids", "ga_measurement_id"),
    "_fid": ("ids", "firebase_id"),
    "auid": ("ids", "gcl_au"),
    "dl": ("page", "url"),
    "dr": ("page", "referrer"),
    "dt": ("page", "title"),
    "ul": ("device", "language"),
    "uap": ("device", "os"),
    "uapv": ("device", "os_version"),
    "uam": ("device", "model"),
    "_uip": ("device", "ip"),  # counts only where a body's address would (gateway.enrich)
    "cm": ("campaign", "medium"),
    "cs": ("campaign", "source"),
    "cn": ("campaign", "name"),
    "cc": ("campaign", "content"),
    "ct": ("campaign", "term"),
    "ck": ("campaign", "term"),
    "ci": ("campaign", "id"),
    "sct": ("session", "number"),
    "tt": ("props", "traffic_type"),
}
"""Parameter → section, key."""

PROMOTION: dict[str, str] = {
    "pi": "promotion_id",
    "pn": "promotion_name",
    "cn": "creative_name",
    "cs": "creative_slot",
    "li": "location_id",
    "lo": "location_id",
}
"""Of promotion events: parameter → `props` key."""
PROMOTION_EVENTS = ("view_promotion", "select_promotion")

CONSENT = "gcs gcd gcu gcut npa dma dma_cps pscdl gdpr gdpr_consent us_privacy gpp gpp_sid".split()
"""The first in `raw`: gateway/consent/google.py and its neighbours read them there."""
LAST = "gtm are _eu _ee tag_exp".split()
"""The last in `raw`."""
_ELSEWHERE = frozenset("v en cu sid _et sr em _fplc uafvl".split()) | frozenset(PLACES)
"""Read by rules of their own or named by a table."""

_SCREEN = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_PLACE = re.compile(r"([A-Z]{2})(?:-([A-Z0-9]{1,3}))?", re.ASCII)
_ITEM = re.compile(r"pr(\d{1,3})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_READ_LATER = frozenset({"value", "tax", "shipping"})
"""Numbers of the schema: a text that is none is dropped and counted by gateway.normalise, which keeps unread money."""


def sections(name: str, shared: Given, own: Given) -> tuple[str | None, Data]:
    """(event id, data) of one event: what all events of the hit share, overlaid by its own line (empty: it has none)."""
    data: Data = {}
    given = {**shared, **own}
    if name in PROMOTION_EVENTS:
        _promotion(given, shared, own, data)
    for key, (section, field) in PLACES.items():
        _put(data, section, field, given.get(key))
    _special(given, data)
    _event_parameters(given, data)
    items = _items(given)
    if items:
        data["items"] = items  # type: ignore[assignment]
    event_id = _event_id(name, data)
    raw = _raw(given, data.pop("raw", {}))
    if raw:
        data["raw"] = raw
    return event_id, {section: part for section, part in data.items() if part != {}}


def _put(data: Data, section: str, field: str, value: object) -> None:
    """Set a field that has no value yet; a flag or an empty text is none."""
    if value is not None and value is not True and value != "":
        data.setdefault(section, {}).setdefault(field, value)


def _text(given: Given, key: str) -> str:
    value = given.get(key)
    return value if isinstance(value, str) else ""


def _promotion(given: dict[str, str | bool], shared: Given, own: Given, data: Data) -> None:
    """Take the promotion's parameters out; what all events of the hit share under such a name stays the campaign's."""
    for key, field in PROMOTION.items():
        if key not in (own or shared):
            continue
        _put(data, "props", field, given.pop(key))
        if own and key in shared:
            given[key] = shared[key]


def _special(given: Given, data: Data) -> None:
    """Session, engagement, screen, currency, user data, and what is an id only where it is not `0`."""
    if session := _text(given, "sid"):
        data.setdefault("session", {})["id"] = session
        data.setdefault("ids", {})["ga_session_id"] = session
    if engaged := _text(given, "_et"):
        data["engagement_ms"] = engaged  # type: ignore[assignment]
    if size := _SCREEN.fullmatch(_text(given, "sr")):
        data.setdefault("device", {}).update(screen_width=int(size[1]), screen_height=int(size[2]))
    elif "sr" in given:
        _put(data, "raw", "sr", given["sr"])
    section, field = ("raw", "_fplc") if given.get("_fplc") == "0" else ("ids", "fplc")
    _put(data, section, field, given.get("_fplc"))
    _put(data, "props", "currency", given.get("cu"))
    if hints := _text(given, "uafvl"):
        # each brand of the list is percent-encoded once more than the rest
        data.setdefault("raw", {})["uafvl"] = unquote(hints)
    if place := _PLACE.fullmatch(_text(given, "ur") or _text(given, "_uc")):
        _put(data, "geo", "country", place[1])  # the page's word: counts only where a body's geo would (gateway.enrich)
        _put(data, "geo", "region", place[2])


def _event_parameters(given: Given, data: Data) -> None:
    """`ep.`, `epn.`, `up.` and `upn.`; a number's own form wins over its text."""
    props: dict[str, Any] = {}
    numbers: dict[str, str] = {}
    user: dict[str, Any] = {}
    for key, value in given.items():
        kind, dot, name = key.partition(".")
        if not dot or not name or not isinstance(value, str) or kind not in ("ep", "epn", "up", "upn"):
            continue
        if kind == "epn":
            numbers[name] = value
        elif kind == "ep":
            if name.startswith(USER_DATA):
                add_plain(user, name[len(USER_DATA) :], value)
            elif value:
                props[name] = value
        elif value:
            traits = user.setdefault("traits", {})
            traits[name] = _number(value, math.nan) if kind == "upn" else traits.get(name, value)
    for name, value in numbers.items():
        props[name] = _number(value, props.get(name, value if name in _READ_LATER else math.nan))
    from_hashes(_text(given, "em"), user)
    for name, value in props.items():
        _put(data, "props", name, value)
    for name, value in user.items():
        _put(data, "user", name, value)


def _number(text: str, otherwise: Any) -> Any:
    """A finite number, else the fallback. NaN is the fallback of what is no number: gateway.normalise drops and counts it."""
    plain = text.strip()
    if not _NUMBER.fullmatch(plain):
        return otherwise
    number = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    return number if math.isfinite(number) else otherwise


def _items(given: Given) -> list[dict[str, Any]]:
    """`pr1` … in the order of their numbers, with gaps."""
    numbered = sorted(
        (int(match[1]), value)
        for key, value in given.items()
        if key.startswith("pr") and isinstance(value, str) and (match := _ITEM.fullmatch(key))
    )
    return [one for _, text in numbered if (one := item(text))]


def _event_id(name: str, data: Data) -> str | None:
    """The hit's own id, which leaves the properties but stays in `raw` for whoever sends the hit on."""
    props = data.get("props", {})
    given = props.pop("event_id", None)
    if isinstance(given, str):
        data.setdefault("raw", {})["ep.event_id"] = given
        return given
    if given is not None:
        return str(given) if isinstance(given, int) else None
    order = props.get("transaction_id")
    return order if name == "purchase" and isinstance(order, str) else None


def _raw(given: Given, found: dict[str, Any]) -> dict[str, Any]:
    """What no field holds, in the order of its worth."""
    raw = {key: given[key] for key in CONSENT if given.get(key)}
    raw.update(found)
    late = {}
    for key, value in given.items():
        if (
            key in _ELSEWHERE
            or key in raw
            or not value
            or key.startswith(("ep.", "epn.", "up.", "upn."))
            or _ITEM.fullmatch(key)
        ):
            continue
        if key in LAST:
            late[key] = value
        else:
            raw[key] = value
    raw.update(late)
    return raw
