"""The Snowplow dialect: `GET /i` (one event in the query) and `POST /com.snowplowanalytics.snowplow/tp2` (a batch).

Written from the public tracker protocol and schemas; the collector's code was not used. Which field goes where:
`snowplow_fields`; the shop: `snowplow_shop`.

- **Types** (`e`): `pv` → page_view, `pp` → page_ping, `se` → the name in `se_ac`, `ue` → the name of the inner schema (known
  ones in canonical words), `tr` → purchase, `ad` → ad_impression. The `ti` of one request are the items of its `tr`; a `ti`
  that comes without its `tr` is a custom event `transaction_item`, and a `tr` without its `ti` a purchase without items.
- **JSON inside** (`ue_pr`, `co`) may come as base64 of either alphabet, padded or not (`ue_px`, `cx`), in GET and POST alike.
  An event with broken inner JSON is refused alone.
- **Time**: `ttm` wins; else `dtm`, corrected by `stm` where the clock is wrong (`gateway.normalise.moment`); a `dtm` before
  the year 2000 with no `stm` to correct it is no time.
- **Identity**: `duid` (else `client_session`) is `ids.snowplow_domain_userid` and the anonymous id; the network user id is
  `tnuid`, then `nuid` of the payload, of the query, then the `sp` cookie. Cookies of Snowplow's are read, never set.
- **`SP-Anonymous`**: the tracker asks for anonymity, so all purposes count as denied, the `sp` cookie is not read, and
  `gateway.enrich` adds neither address nor cookies. The collector would write an all-zero network user id: here it is absent.
- `aid` names the source where it is one of its keys (trackers can send no other); any other app id is kept in `raw`.

The envelope's schema version is not checked; a bare list or a single payload is read too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.clock import iso
from gateway.errors import Malformed, Refused, TooLarge
from gateway.event import PURPOSES
from gateway.receive import snowplow_shop as shop
from gateway.receive.body import MAX_EVENT_BYTES, check_count, event_name, parse, too_large
from gateway.receive.cookies import cookies, decoded
from gateway.receive.forms import base64_json, fields, inner_json
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.snowplow_fields import (
    CHANNELS,
    NAMES,
    PING,
    PLACES,
    PROPERTIES,
    SIZES,
    STRUCT,
    Data,
    Entity,
    add_entities,
    consent_of,
    entity,
    is_snowplow,
    put,
    put_size,
    rename,
)
from gateway.receive.sources import query_value

Given = Mapping[str, Any]
Lines = Mapping[str, list[dict[str, Any]]]

ANONYMOUS = "sp-anonymous"
"""The header by which a tracker asks for anonymity."""
_YEAR_2000 = 946684800000
_LATEST = 253402300799000
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_MILLIS = re.compile(r"\d{1,15}", re.ASCII)


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per event; the lines of an order are part of theirs. Raises Malformed or TooLarge."""
    if hit.method == "POST":
        entries = _entries(parse(hit.body))
    elif hit.method == "HEAD":
        return []
    elif len(hit.query) > MAX_EVENT_BYTES:
        raise TooLarge("the query is over 64 KiB")
    else:
        entries = [fields(hit.query)]
    check_count(entries)
    lines = _lines(entries)
    return [_event(entry, lines, hit) for entry in entries if not _joined(entry, lines)]


def app_id(body: bytes, query: str) -> str | None:
    """`aid` of the query or of the first event of a body: the key of a source, where it is one."""
    if not body:
        return query_value(query, "aid")
    if b'"aid"' not in body:
        return None
    try:
        entries = _entries(orjson.loads(body))
    except (orjson.JSONDecodeError, Refused):
        return None
    value = entries[0].get("aid") if entries and isinstance(entries[0], dict) else None
    return value if isinstance(value, str) else None


def _entries(body: Any) -> list[Any]:
    if isinstance(body, dict) and "data" in body:
        body = body["data"]
    if isinstance(body, dict) and "e" in body:
        return [body]
    if not isinstance(body, list):
        raise Malformed("the body is not a list of payloads")
    return body


def _lines(entries: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """The items of every order of the hit, by order id."""
    payloads = [entry for entry in entries if isinstance(entry, dict)]
    lines: dict[str, list[dict[str, Any]]] = {
        order: [] for one in payloads if one.get("e") == "tr" and (order := _text(one.get("tr_id")))
    }
    for one in payloads:
        if _joined(one, lines):
            lines[_text(one["ti_id"])].append(shop.line(_texts(one)))
    return lines


def _joined(entry: Any, lines: Lines) -> bool:
    return isinstance(entry, dict) and entry.get("e") == "ti" and _text(entry.get("ti_id")) in lines


def _event(entry: Any, lines: Lines, hit: Hit) -> RawEvent | Refused:
    if not isinstance(entry, dict):
        return Malformed("a payload must be an object")
    if too_large(entry, hit.body):
        return TooLarge("the event is over 64 KiB")
    try:
        return _read(entry, lines, hit)
    except Refused as refused:
        return refused


def _read(entry: Given, lines: Lines, hit: Hit) -> RawEvent:
    given = _texts(entry)
    kind = given.get("e")
    if kind is None:
        raise Malformed("the event has no type (e)")
    if kind not in _KINDS:
        raise Malformed("the type of the event (e) is unknown")
    data: dict[str, Any] = {}
    for key, (section, field) in PLACES.items():
        put(data, section, field, given.get(key))
    for key in SIZES:
        put_size(data, key, given.get(key))
    put(data, "raw", "channel", CHANNELS.get(given.get("p", "")))
    entities = _contexts(entry)
    name, items = _KINDS[kind](entry, data, entities)
    if kind == "tr":
        items = lines.get(given.get("tr_id", ""), [])
    add_entities((one for one in entities if not shop.of_shop(one)), data)
    if not items:
        items = shop.add_shop(filter(shop.of_shop, entities), data)
    if items:
        data["items"] = items
    _identify(given, data, hit)
    time, sent_at = _times(given)
    return RawEvent("snowplow", name, data, id=given.get("eid"), time=time, sent_at=sent_at)


def _texts(entry: Given) -> dict[str, str]:
    """The filled fields as text: trackers send text, some send numbers."""
    return {key: text for key, value in entry.items() if (text := _text(value))}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _contexts(entry: Given) -> list[Entity]:
    held = _inner(entry, "co", "cx")
    inside = held.get("data") if isinstance(held, dict) else None
    return [one for given in (inside if isinstance(inside, list) else []) if (one := entity(given)) is not None]


def _inner(entry: Given, plain: str, encoded: str) -> Any:
    """The JSON of a field, from its plain or its base64 form; None where there is neither. Raises Malformed."""
    value = entry.get(plain)
    if isinstance(value, dict):
        return value
    if isinstance(value, str) and value:
        return inner_json(value)
    value = entry.get(encoded)
    return base64_json(value) if isinstance(value, str) and value else None


Named = tuple[str, list[dict[str, Any]]]


def _page_view(_entry: Given, _data: Data, _entities: list[Entity]) -> Named:
    return "page_view", []


def _page_ping(entry: Given, data: Data, _entities: list[Entity]) -> Named:
    for key, name in PING.items():
        put(data, "props", name, entry.get(key))
    return "page_ping", []


def _struct(entry: Given, data: Data, _entities: list[Entity]) -> Named:
    for key, name in STRUCT.items():
        put(data, "props", name, entry.get(key))
    return event_name(_text(entry.get("se_ac"))), []


def _order(entry: Given, data: Data, _entities: list[Entity]) -> Named:
    shop.order(_texts(entry), data)
    return "purchase", []


def _line(entry: Given, data: Data, _entities: list[Entity]) -> Named:
    given = _texts(entry)
    put(data, "props", "transaction_id", given.get("ti_id"))
    put(data, "props", "currency", given.get("ti_cu"))
    return "transaction_item", [shop.line(given)]


def _ad(_entry: Given, _data: Data, _entities: list[Entity]) -> Named:
    return "ad_impression", []


def _self_describing(entry: Given, data: Data, entities: list[Entity]) -> Named:
    envelope = _inner(entry, "ue_pr", "ue_px")
    inner = entity(envelope.get("data")) if isinstance(envelope, dict) else None
    if inner is None:
        raise Malformed("the self-describing event has no schema")
    said = inner.data if isinstance(inner.data, dict) else {"data": inner.data}
    data.setdefault("raw", {})["schema"] = f"{inner.vendor}/{inner.name}"
    if inner.vendor == shop.VENDOR and inner.name == "snowplow_ecommerce_action":
        return _action(said, data, entities)
    if shop.of_enhanced(inner):
        return _enhanced(said, data, entities)
    name = NAMES.get(inner.name, inner.name) if is_snowplow(inner) else inner.name
    props = {key: value for key, value in said.items() if value is not None}
    items = shop.cart_item(props, data) if is_snowplow(inner) and name in ("add_to_cart", "remove_from_cart") else []
    if is_snowplow(inner):
        rename(props, PROPERTIES.get(name, {}))
        _search_terms(name, props)
    if inner.name == "consent_preferences" and (block := consent_of(said)):
        data["consent"] = block
    for key, value in props.items():
        put(data, "props", key, value)
    return event_name(name), items


def _search_terms(name: str, props: dict[str, Any]) -> None:
    terms = props.get("terms")
    if name == "search" and isinstance(terms, list):
        del props["terms"]
        props["search_term"] = " ".join(term for term in terms if isinstance(term, str))


def _action(said: Given, data: Data, entities: list[Entity]) -> Named:
    ours = [one for one in entities if shop.of_shop(one)]
    name = shop.action_name(said.get("type"), ours)
    if name is None:
        raise Malformed("the type of the e-commerce action is unknown")
    put(data, "props", "item_list_name", said.get("name"))
    return name, shop.add_shop(ours, data, said.get("name"))


def _enhanced(said: Given, data: Data, entities: list[Entity]) -> Named:
    ours = [one for one in entities if shop.of_shop(one)]
    name = shop.enhanced_name(said.get("action"), ours) or event_name(said.get("action"))
    return name, shop.add_shop(ours, data)


_KINDS: dict[str, Callable[[Given, Data, list[Entity]], Named]] = {
    "pv": _page_view,
    "pp": _page_ping,
    "se": _struct,
    "ue": _self_describing,
    "tr": _order,
    "ti": _line,
    "ad": _ad,
}


def _identify(given: Mapping[str, str], data: dict[str, Any], hit: Hit) -> None:
    if ANONYMOUS in hit.headers:
        data["consent"] = dict.fromkeys(PURPOSES, "denied")
        data.get("device", {}).pop("ip", None)
        network = None
    else:
        network = query_value(hit.query, "nuid") or _network_cookie(hit)
    put(data, "ids", "snowplow_network_userid", given.get("tnuid") or given.get("nuid") or network)
    put(data, "user", "anonymous_id", data.get("ids", {}).get("snowplow_domain_userid"))


def _network_cookie(hit: Hit) -> str | None:
    header = hit.headers.get("cookie", "")
    if "sp=" not in header:
        return None
    found = (decoded(value) for name, value in cookies(header) if name == "sp")
    return next((value for value in found if _UUID.fullmatch(value)), None)


def _times(given: Mapping[str, str]) -> tuple[str | None, str | None]:
    """(when it happened, when it was sent) as RFC 3339; a true timestamp needs no correction."""
    true, made, sent = (_millis(given.get(key)) for key in ("ttm", "dtm", "stm"))
    if true is not None:
        return iso(true / 1000), None
    if made is None or (made < _YEAR_2000 and sent is None):
        return None, None
    return iso(made / 1000), None if sent is None else iso(sent / 1000)


def _millis(text: str | None) -> int | None:
    plain = (text or "").strip()
    return int(plain) if _MILLIS.fullmatch(plain) and int(plain) <= _LATEST else None
