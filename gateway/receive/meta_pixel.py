"""The Meta pixel dialect: `GET/POST /tr`, hits shaped like those of Meta's browser pixel.

Meta does not document them; what is read here was learnt from captured hits. A hit has a pixel id (`id`, 5 to 20 digits) and
an event (`ev`); one that lacks either is refused. Parameters stand in the query, in a form body (multipart or urlencoded), or
in both: the body wins. Brackets come raw or encoded, values may have blanks around them.

    ev      name; the standard names in Meta's own spelling become canonical ones (gateway.normalise.vocabulary)
    eid     id of the event, shared with the browser's copy        ts      time, epoch milliseconds
    dl, rl  page (else the Referer), referrer                      sw, sh  screen
    cd[x]   properties and items                                   ud[x]   hashed user data, then aud[x], then udff[x]
    fbp, fbc   cookies; not used where coo=true                    dpo=LDU an opt-out of sale, with dpoco and dpost

- **Items** come from `cd[contents]`, else from `cd[content_ids]` (a JSON list, also with single quotes, or a comma list).
- **User data** in a hash slot that is no SHA-256 is a leak of the page's: it goes to `user` as it came and is hashed by the
  mapping. Masked shapes (`cud`, `ncud`) are ignored.
- **Automatic** events (`es=automatic`) keep names of their own: a standard one is called `automatic_purchase`, so that no
  mapping takes the pixel's guess for what the site said. What forms and buttons held is dropped.
- A hit without `eid` cannot be told from the browser's copy: `raw.without_eid` lets a destination of the same pixel skip it.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive.body import MAX_EVENT_BYTES, event_name
from gateway.receive.forms import body_fields, fields, inner_json
from gateway.receive.hit import Hit, RawEvent

Given = dict[str, str]

_PLACES = {
    "dl": ("page", "url"),
    "rl": ("page", "referrer"),
    "sw": ("device", "screen_width"),
    "sh": ("device", "screen_height"),
    "id": ("raw", "pixel_id"),
    "v": ("raw", "pixel_version"),
    "a": ("raw", "agent"),
    "ec": ("raw", "event_counter"),
    "it": ("raw", "pixel_init"),
    "es": ("raw", "event_source"),
    "if": ("raw", "in_iframe"),
    **{key: ("raw", key) for key in ("r", "o", "iw", "coo", "cdl", "ler", "tm", "dpo", "dpoco", "dpost", "noscript")},
    **{key: ("raw", key) for key in ("exp", "rqm", "tz", "pl")},
}
_COOKIES = ("fbp", "fbc")
_USER = {
    "em": "email",
    "ph": "phone",
    "fn": "first_name",
    "ln": "last_name",
    "ct": "city",
    "st": "state",
    "zp": "zip",
    "country": "country",
    "db": "birthdate",
    "ge": "gender",
    "external_id": "id",
    "uid": "id",
}
_REPRESENTATIONS = ("ud", "aud", "udff")
"""Of one field the first of these counts."""
_PROPS = {"order_id": "transaction_id", "search_string": "search_term"}
_DROPPED = frozenset(("buttonText", "buttonFeatures", "formFeatures", "pageFeatures", "parameters"))
"""What automatic events tell of forms and buttons; it can hold what a person typed."""
_ITEM = {"item_price": "price", "title": "name"}

_PIXEL = re.compile(r"\d{5,20}", re.ASCII)
_INNER = re.compile(r"([a-z]{1,5})\[([^\[\]]{1,200})\](?:\[\d*\])?")
_HASH = re.compile(r"[0-9a-fA-F]{64}")


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """The hit's one event; none for HEAD. Raises Malformed or TooLarge."""
    if hit.method == "HEAD":
        return []
    if max(len(hit.query), len(hit.body)) > MAX_EVENT_BYTES:
        raise TooLarge("the hit is over 64 KiB")
    given = _given(hit)
    if not _PIXEL.fullmatch(given.get("id", "")):
        raise Malformed("the pixel id (id) is missing or not 5 to 20 digits")
    name = event_name(given.get("ev", ""))
    if given.get("es") == "automatic":
        name = f"automatic_{name}"
    return [RawEvent("meta_pixel", name, _data(given), id=given.get("eid"), time=given.get("ts"))]


def _given(hit: Hit) -> Given:
    given = fields(hit.query)
    if hit.method == "POST":
        given |= body_fields(hit)
    given.setdefault("dl", hit.headers.get("referer", ""))
    return {key: value.strip() for key, value in given.items() if value.strip()}


def _data(given: Given) -> dict[str, Any]:
    data: dict[str, dict[str, Any]] = {"raw": {}}
    for key, (section, field) in _PLACES.items():
        if key in given:
            data.setdefault(section, {})[field] = given[key]
    if "eid" not in given:
        data["raw"]["without_eid"] = True
    inner = _inner(given)
    if given.get("coo", "").lower() != "true":
        data["ids"] = {key: given[key] for key in _COOKIES if key in given}
    data["user"] = _user(inner)
    data["props"], items = _props(inner.get("cd", {}))
    if "pmd" in inner:
        data["raw"]["page_metadata"] = inner["pmd"]
    if "LDU" in given.get("dpo", "").upper():
        data["consent"] = {"sale_opt_out": True}
    found: dict[str, Any] = {section: part for section, part in data.items() if part}
    return {**found, "items": items} if items else found


def _inner(given: Given) -> dict[str, Given]:
    """`cd[value]` and its like, by prefix and name; of a list (`dpo[0]`) nothing but its first is needed."""
    found: dict[str, Given] = {}
    for key, value in given.items():
        match = _INNER.fullmatch(key)
        if match:
            found.setdefault(match[1], {}).setdefault(match[2], value)
    return found


def _user(inner: dict[str, Given]) -> dict[str, str]:
    """Hashed values before clear ones, of each in the order of the representations."""
    user: dict[str, str] = {}
    for key, field in _USER.items():
        values = [inner[kind][key] for kind in _REPRESENTATIONS if key in inner.get(kind, {})]
        hashed = next((value for value in values if _HASH.fullmatch(value)), None)
        if values and field not in user:
            user[field] = hashed or values[0]
    return user


def _props(custom: Given) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    props: dict[str, Any] = {}
    for key, value in custom.items():
        if key not in _DROPPED:
            props.setdefault(_PROPS.get(key, key), _parsed(value))
    items = _items(props.get("contents")) or _items(_ids(props.get("content_ids")))
    if items:
        props.pop("contents", None)
        props.pop("content_ids", None)
    return props, items


def _parsed(value: str) -> Any:
    """A value that looks like JSON as what it says; as it came where it cannot be read."""
    if value[:1] not in ("[", "{"):
        return value
    for text in (value, value.replace("'", '"')):
        try:
            return inner_json(text)
        except Malformed:
            continue
    return value


def _ids(given: Any) -> Any:
    if isinstance(given, str):
        given = [part.strip() for part in given.strip("[]").split(",")]
    if not isinstance(given, list):
        given = [given]
    return [{"id": one} for one in given if isinstance(one, (str, int)) and one not in ("", None)]


def _items(contents: Any) -> list[dict[str, Any]]:
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list):
        return []
    return [_item(content) for content in contents if isinstance(content, dict)]


def _item(content: dict[str, Any]) -> dict[str, Any]:
    item = dict(content)
    for old, new in _ITEM.items():
        if old in item:
            item.setdefault(new, item.pop(old))
    return item
