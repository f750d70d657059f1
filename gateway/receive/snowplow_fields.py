"""Where the fields and entities of Snowplow's tracker protocol stand in the canonical event: tables, and the rules of entities.

Fields are the short keys of a payload (`url`, `duid`, `se_ca`); entities are the self-describing contexts beside an event.
An entity that no table knows is kept in `raw` under its own name; several of one name as a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Data = dict[str, dict[str, Any]]

PLACES: dict[str, tuple[str, str]] = {
    "uid": ("user", "id"),
    "url": ("page", "url"),
    "page": ("page", "title"),
    "refr": ("page", "referrer"),
    "lang": ("device", "language"),
    "tz": ("device", "timezone"),
    "ip": ("device", "ip"),
    "ua": ("device", "user_agent"),
    "sid": ("session", "id"),
    "vid": ("session", "number"),
    "duid": ("ids", "snowplow_domain_userid"),
    **{key: ("raw", name) for key, name in {"tv": "tracker", "tna": "tracker_namespace", "aid": "app_id"}.items()},
    **{key: ("raw", name) for key, name in {"p": "platform", "ds": "document_size", "cd": "color_depth"}.items()},
    **{key: ("raw", name) for key, name in {"cs": "charset", "cookie": "cookies_enabled"}.items()},
    **{key: ("raw", key) for key in ("ad_ba", "ad_ca", "ad_ad", "ad_uid", "sa", "sn", "st", "sp")},
}
"""Field → section, key. Fingerprint, MAC address and plug-in lists are left out."""

SIZES = {"res": ("screen_width", "screen_height"), "vp": ("viewport_width", "viewport_height")}
"""`1920x1080` → two keys of `device`."""

PING = {"pp_mix": "scroll_x_min", "pp_max": "scroll_x_max", "pp_miy": "scroll_y_min", "pp_may": "scroll_y_max"}
STRUCT = {"se_ca": "category", "se_la": "label", "se_pr": "property", "se_va": "value"}

CHANNELS = {"mob": "mobile"}
"""Platforms that say on which channel an event happened. Servers report on behalf of any, and `web` without a page's address
(trackers on servers say so) is no web page: destinations would be told of a website that cannot be named."""

NAMES = {"link_click": "click", "submit_form": "form_submit", "site_search": "search"}
"""Snowplow's own self-describing events → canonical names; any other event is called by the name in its schema."""
PROPERTIES: dict[str, dict[str, str]] = {
    "click": {"targetUrl": "link_url", "elementId": "link_id", "elementContent": "link_text", "elementTarget": "link_target"},
    "form_submit": {"formId": "form_id"},
    "screen_view": {"previousName": "previous_name", "previousType": "previous_type"},
}

_SIMPLE: dict[str, dict[str, tuple[str, str]]] = {
    "web_page": {"id": ("raw", "page_view_id")},
    "client_session": {
        "sessionId": ("session", "id"),
        "sessionIndex": ("session", "number"),
        "userId": ("ids", "snowplow_domain_userid"),
        "eventIndex": ("raw", "session_event_index"),
        "previousSessionId": ("raw", "previous_session_id"),
    },
    "mobile_context": {
        "osType": ("device", "os"),
        "osVersion": ("device", "os_version"),
        "deviceManufacturer": ("device", "manufacturer"),
        "deviceModel": ("device", "model"),
        "language": ("device", "language"),
        "appleIdfa": ("device", "advertising_id"),
        "androidIdfa": ("device", "advertising_id"),
        "appleIdfv": ("device", "id"),
        "appSetId": ("device", "id"),
        "carrier": ("raw", "carrier"),
        "networkType": ("raw", "network_type"),
    },
    "http_client_hints": {
        "platform": ("device", "os"),
        "platformVersion": ("device", "os_version"),
        "model": ("device", "model"),
    },
    "browser_context": {"browserLanguage": ("device", "language"), "tabId": ("raw", "tab_id")},
    "application": {"version": ("app", "version"), "build": ("app", "build")},
}
"""Entity → its key → section, key. What the event says itself stays."""
_ENTITY_SIZES = {"mobile_context": {"resolution": "res"}, "browser_context": {"resolution": "res", "viewport": "vp"}}

_DENYING = ("deny_all", "withdrawn", "expired")
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})", re.ASCII)
_SCHEMA = re.compile(r"iglu:([A-Za-z0-9_.-]{1,200})/([A-Za-z0-9_-]{1,200})/[A-Za-z0-9_-]{1,50}/[0-9*-]{1,20}")


class Entity(NamedTuple):
    """A self-describing piece: whose schema, what it is called, what it says."""

    vendor: str
    name: str
    data: Any


def entity(given: Any) -> Entity | None:
    """`{"schema": "iglu:vendor/name/jsonschema/1-0-0", "data": …}` taken apart; None for anything else."""
    if not isinstance(given, dict) or not isinstance(given.get("schema"), str):
        return None
    match = _SCHEMA.fullmatch(given["schema"].strip())
    return Entity(match[1], match[2], given.get("data")) if match else None


def is_snowplow(one: Entity) -> bool:
    """Whether a schema is Snowplow's own or the browser vendors' hints it carries."""
    return one.vendor.startswith(("com.snowplowanalytics.", "org.ietf", "org.w3"))


def put(data: Data, section: str, key: str, value: object) -> None:
    """Set a field that has no value yet."""
    if value is not None and value != "":
        data.setdefault(section, {}).setdefault(key, value)


def put_size(data: Data, kind: str, value: object) -> None:
    """Set width and height out of `1920x1080`; `kind` is a key of SIZES."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        for key, number in zip(SIZES[kind], match.groups(), strict=True):
            put(data, "device", key, int(number))


def rename(props: dict[str, Any], table: Mapping[str, str]) -> None:
    """Move properties to their canonical names; a canonical one that is there already stays."""
    for old, new in table.items():
        if old in props:
            props.setdefault(new, props.pop(old))


def add_entities(entities: Iterable[Entity], data: Data) -> None:
    """What the entities say of device, session, app and page; unknown ones to `raw`."""
    for one in entities:
        said = one.data if isinstance(one.data, dict) else {}
        places = _SIMPLE.get(one.name) if is_snowplow(one) else None
        if places is None:
            _keep(one, data)
            continue
        for key, (section, field) in places.items():
            put(data, section, field, said.get(key))
        for key, kind in _ENTITY_SIZES.get(one.name, {}).items():
            put_size(data, kind, said.get(key))
        if one.name == "client_session":
            put(data, "session", "started", said.get("firstEventTimestamp"))


def _keep(one: Entity, data: Data) -> None:
    if one.data in (None, "", {}, []):
        return
    raw = data.setdefault("raw", {})
    if one.name not in raw:
        raw[one.name] = one.data
        return
    known = raw[one.name]
    raw[one.name] = [*known, one.data] if isinstance(known, list) else [known, one.data]


def consent_of(said: Fields) -> dict[str, Any] | None:
    """The consent block of a `consent_preferences` event: scopes are categories (the source's table says what they mean)."""
    kind = said.get("eventType")
    if kind in _DENYING:
        return dict.fromkeys(("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage", "functional"), "denied")
    scopes = said.get("consentScopes")
    if not isinstance(scopes, list) or kind not in ("allow_all", "allow_selected", "implicit_consent"):
        return None
    block: dict[str, Any] = {"categories": {scope: True for scope in scopes if isinstance(scope, str)}}
    if kind == "implicit_consent":
        block["explicit"] = False
    return block
