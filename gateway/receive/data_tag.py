"""The Data Tag dialect: `GET/POST /data`, what Stape's Data Tag for a GTM web container sends to a server container.

Written from the public description of the protocol and the tag's own source, neither of which was copied. Not checked: a tag
running in a container (the hits of the tests are written by hand after its source), encodings of `FPGCLAW` other than the two
that are read, and the event stream that a server container may answer with.

- **GET**: the event stands in the query, in `dtcd` (JSON) or `dtdc` (base64 of JSON). **POST**: in a JSON body, whatever its
  Content-Type says (the tag says `text/plain`), as one object or a list, or in an urlencoded body with dotted names
  (`items.0.price`); what the query says stands under each.
- **Name**: `event_name`, `eventName`, `event`, `e_n`; an event with other fields and no name is called `Data`, as there.
- **Id**: `event_id`, `eventId`, `unique_event_id`. **Time**: `timestamp` (epoch seconds).
- **Client id**: `client_id`, `data_client_id`, `_dcid`, then the `_dcid` cookie, then `_dcid_temp`; it is the anonymous id, and
  Google's client id where it has that form. None is made up.
- **User, page, device, shop**: by the tables of `data_tag_fields`. `value` is the event's, else the order's revenue, else the
  sum of the items, as there (`gateway.normalise.commerce`).
- **Consent**: `consent_state`, the state of Google's consent mode when the tag fired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import Malformed, Refused, TooLarge
from gateway.receive import data_tag_fields as tag
from gateway.receive.body import MAX_EVENT_BYTES, check_count, event_name, parse, too_large
from gateway.receive.cookies import cookies, decoded
from gateway.receive.forms import base64_json, fields, inner_json
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.sources import body_key, query_value

UNNAMED = "Data"
_MAX_LEVELS = 8


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per event. Raises Malformed or TooLarge where nothing can be read."""
    if hit.method == "HEAD":
        return []
    if len(hit.query) > MAX_EVENT_BYTES:
        raise TooLarge("the query is over 64 KiB")
    base: dict[str, Any] = dict(fields(hit.query)) if hit.query else {}
    if hit.method == "GET":
        return [_event(_expanded(base), hit)]
    body = _body(hit)
    if not isinstance(body, list):
        return [_entry(body, base, hit)]
    check_count(body)
    return [_entry(one, base, hit) for one in body]


def key(body: bytes, query: str) -> str | None:
    """A write key among the fields: `writeKey` of a JSON body, or of the JSON inside the query."""
    if found := body_key(body):
        return found
    text = query_value(query, "dtdc")
    try:
        inside = base64_json(text) if text else inner_json(query_value(query, "dtcd") or "null")
    except Refused:
        return None
    found = inside.get("writeKey") if isinstance(inside, dict) else None
    return found if isinstance(found, str) and found else None


def _expanded(base: dict[str, Any]) -> dict[str, Any]:
    """The query's fields with those inside `dtcd` and `dtdc` over them."""
    event = dict(base)
    for name, read in (("dtcd", inner_json), ("dtdc", base64_json)):
        if name in event:
            inside = read(event.pop(name))
            if not isinstance(inside, dict):
                raise Malformed(f"{name} is not an object")
            event |= inside
    return event


def _body(hit: Hit) -> Any:
    if hit.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return _dotted(fields(hit.body.decode("utf-8", "replace")))
    return parse(hit.body) if hit.body.strip() else {}


def _dotted(given: Mapping[str, str]) -> Any:
    """`{"items.0.price": "2"}` → `{"items": [{"price": "2"}]}`. Raises Malformed for names of more than eight parts."""
    tree: dict[str, Any] = {}
    for name, value in given.items():
        *path, last = name.split(".")
        if len(path) >= _MAX_LEVELS:
            raise Malformed("a name of the form has too many parts")
        node = tree
        for step in path:
            below = node.setdefault(step, {})
            node = below if isinstance(below, dict) else node
        node[last] = _value(value)
    return _lists(tree)


def _value(text: str) -> Any:
    """A form's value: JSON where it is some, else text; numbers stay as they were written."""
    if text[:1] not in ("[", "{") and text not in ("true", "false", "null"):
        return text
    try:
        return inner_json(text)
    except Malformed:
        return text


def _lists(node: Any) -> Any:
    """Maps whose keys are numbers as lists, in the order of the numbers."""
    if not isinstance(node, dict):
        return node
    below = {name: _lists(value) for name, value in node.items()}
    if below and all(name.isascii() and name.isdigit() and len(name) < 6 for name in below):
        return [below[name] for name in sorted(below, key=int)]
    return below


def _entry(given: Any, base: Mapping[str, Any], hit: Hit) -> RawEvent | Refused:
    if not isinstance(given, dict):
        return Malformed("an event must be an object")
    if too_large(given, hit.body):
        return TooLarge("the event is over 64 KiB")
    try:
        return _event({**base, **given}, hit)
    except Refused as refused:
        return refused


def _event(given: dict[str, Any], hit: Hit) -> RawEvent:
    left = {name: value for name, value in given.items() if tag.filled(value)}
    version = left.pop("v", None)
    if not left:
        raise Malformed("there is no event in the hit")
    stated = tag.take(left, tag.NAMES)
    name = event_name(UNNAMED if stated is None else stated)
    event_id = tag.take(left, tag.IDS)
    time = left.pop("timestamp", None)
    data: dict[str, Any] = {}
    tag.put(data, "raw", "protocol_version", version)
    tag.shop(left.get("ecommerce"), left)
    tag.common(left, data)
    tag.user(left, data)
    tag.cookies(left.get("common_cookie"), data)
    _client(left, data, hit)
    if block := tag.consent(left.get("consent_state")):
        data["consent"] = block
    tag.currency_of_items(left, data)
    for field, value in left.items():
        if tag.kept(field):
            tag.put(data, "props", field, value)
    return RawEvent("data_tag", name, data, id=event_id, time=time)


def _client(left: dict[str, Any], data: dict[str, Any], hit: Hit) -> None:
    given = tag.take(left, tag.CLIENT_IDS) or _cookie(hit) or left.pop("_dcid_temp", None)
    tag.put(data, "user", "anonymous_id", given)
    if tag.is_ga_client(given):
        tag.put(data, "ids", "ga_client_id", given)


def _cookie(hit: Hit) -> str | None:
    header = hit.headers.get("cookie", "")
    if "_dcid=" not in header:
        return None
    return next((decoded(value) for name, value in cookies(header) if name == "_dcid" and value), None)
