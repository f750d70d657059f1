"""The Measurement Protocol: `POST /mp/collect` with JSON, as servers and apps send it to Google.

- `measurement_id` or `firebase_app_id` in the query may name the source (`ga4_ids`); an `api_secret` that is one of the
  source's own keys is that key, any other is Google's and is neither checked nor kept.
- `ip_override`, `user_agent`, `user_location` and `device` count where a body's address does: without browser headers, or
  with a server key.
- The protocol has no word for storage. `consent` may say more than Google's two purposes: `ad_storage` and
  `analytics_storage` are read the same way. `non_personalized_ads` denies ad_personalization.
- `timestamp_micros` of the event, else of the body, is when it happened. The id is `event_id` of the parameters, for a
  purchase else its `transaction_id`.

One bad event of a body refuses that event alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.errors import Malformed, Refused, TooLarge
from gateway.event import PURPOSES
from gateway.receive.body import check_count, event_name, parse, too_large
from gateway.receive.ga4_items import renamed
from gateway.receive.ga4_user import from_json
from gateway.receive.hit import Hit, RawEvent
from gateway.receive.sources import query_value

Data = dict[str, dict[str, Any]]

PARAMS: dict[str, tuple[str, str]] = {
    "session_number": ("session", "number"),
    "page_location": ("page", "url"),
    "page_referrer": ("page", "referrer"),
    "page_title": ("page", "title"),
    "language": ("device", "language"),
}
"""Event parameter → section, key; the event's word before the body's."""
BODY: dict[str, tuple[str, str]] = {
    "client_id": ("ids", "ga_client_id"),
    "app_instance_id": ("ids", "ga_app_instance_id"),
    "user_id": ("user", "id"),
    "ip_override": ("device", "ip"),
    "user_agent": ("device", "user_agent"),
}
"""Key of the body → section, key."""
DEVICE: dict[str, tuple[str, str]] = {
    "category": ("device", "type"),
    "language": ("device", "language"),
    "operating_system": ("device", "os"),
    "operating_system_version": ("device", "os_version"),
    "model": ("device", "model"),
    "brand": ("device", "manufacturer"),
    "browser": ("device", "browser"),
    "browser_version": ("raw", "browser_version"),
}
"""Key of the body's `device` → section, key."""
_ELSEWHERE = frozenset("consent device events non_personalized_ads timestamp_micros user_data user_location".split())
_ADDRESSES = ("measurement_id", "firebase_app_id")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_REGION = re.compile(r"([A-Za-z]{2})-([A-Za-z0-9]{1,3})")
_SCREEN = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


def decode(hit: Hit) -> list[RawEvent | Refused]:
    """One entry per event, in the order of the body. Raises Malformed or TooLarge where nothing can be read."""
    body = parse(hit.body)
    if not isinstance(body, dict):
        raise Malformed("the body must be an object")
    events = body.get("events")
    if not isinstance(events, list):
        raise Malformed("events must be a list")
    check_count(events)
    streams = {name: value for name in _ADDRESSES if (value := query_value(hit.query, name))}
    return [_event(entry, body, streams, hit.body) for entry in events]


def named_by(query: str) -> tuple[str | None, str | None]:
    """(what may be a key of ours, the id of the stream) of a request's query."""
    stream = query_value(query, "measurement_id") or query_value(query, "firebase_app_id")
    return query_value(query, "api_secret"), stream


def _event(entry: Any, body: Mapping[str, Any], streams: Mapping[str, str], text: bytes) -> RawEvent | Refused:
    if not isinstance(entry, dict):
        return Malformed("an event must be an object")
    if too_large(entry, text):
        return TooLarge("the event is over 64 KiB")
    try:
        name = event_name(entry.get("name"))
    except Malformed as refused:
        return refused
    params = dict(_map(entry.get("params")))
    data: Data = {}
    event_id = _from_params(name, params, data)
    _from_body(body, data)
    if params:
        data["props"] = params
    if streams:
        data.setdefault("raw", {}).update(streams)
    when = entry.get("timestamp_micros")
    return RawEvent("ga4", name, data, id=event_id, time=body.get("timestamp_micros") if when is None else when)


def _from_params(name: str, params: dict[str, Any], data: Data) -> Any:
    """Move what has a place of its own out of the parameters; returns the event's id."""
    for key, (section, field) in PARAMS.items():
        _put(data, section, field, params.pop(key, None))
    session = params.pop("session_id", None)
    _put(data, "session", "id", session)
    _put(data, "ids", "ga_session_id", session)
    _screen(params.pop("screen_resolution", None), data)
    engaged = params.pop("engagement_time_msec", None)
    if engaged is not None:
        data["engagement_ms"] = engaged
    items = params.pop("items", None)
    if isinstance(items, list):
        data["items"] = [renamed(one) if isinstance(one, dict) else one for one in items]  # type: ignore[assignment]
    given = params.pop("event_id", None)
    return given if given is not None else params.get("transaction_id") if name == "purchase" else None


def _from_body(body: Mapping[str, Any], data: Data) -> None:
    for key, (section, field) in BODY.items():
        _put(data, section, field, body.get(key))
    device = _map(body.get("device"))
    for key, (section, field) in DEVICE.items():
        _put(data, section, field, device.get(key))
    _screen(device.get("screen_resolution"), data)
    user: dict[str, Any] = {}
    from_json(body.get("user_data"), user)
    for name, given in _map(body.get("user_properties")).items():
        user.setdefault("traits", {})[name] = given.get("value") if isinstance(given, dict) else given
    for field, value in user.items():
        _put(data, "user", field, value)
    _location(_map(body.get("user_location")), data)
    _consent(body, data)
    for key, value in body.items():
        if key not in BODY and key not in _ELSEWHERE and key != "user_properties":
            _put(data, "raw", key, value)


def _location(given: Mapping[str, Any], data: Data) -> None:
    country = given.get("country_id")
    region = _REGION.fullmatch(given["region_id"]) if isinstance(given.get("region_id"), str) else None
    if isinstance(country, str) and _COUNTRY.fullmatch(country):
        _put(data, "geo", "country", country)
    if region:
        _put(data, "geo", "country", region[1])
        _put(data, "geo", "region", region[2])
    _put(data, "geo", "city", given.get("city"))
    for key in ("subcontinent_id", "continent_id"):
        _put(data, "raw", key, given.get(key))


def _consent(body: Mapping[str, Any], data: Data) -> None:
    given = body.get("consent")
    if given is not None and not isinstance(given, dict):
        data["consent"] = given  # what cannot be read is a denial (gateway.normalise)
        return
    block = {key: given[key] for key in PURPOSES if key in given} if given else {}
    if body.get("non_personalized_ads") is True:
        block["ad_personalization"] = "denied"
    if block:
        data["consent"] = block


def _screen(given: object, data: Data) -> None:
    size = _SCREEN.fullmatch(given) if isinstance(given, str) else None
    if size:
        _put(data, "device", "screen_width", int(size[1]))
        _put(data, "device", "screen_height", int(size[2]))


def _put(data: Data, section: str, field: str, value: object) -> None:
    """Set a field that has no value yet."""
    if value is not None and value != "":
        data.setdefault(section, {}).setdefault(field, value)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
