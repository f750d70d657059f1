"""Where the fields of a Segment call stand in the canonical event: tables, and the few rules no table can say.

A field moves: it is at one place afterwards. E-mail and phone among the properties are the exception, they are copied to
`user` and stay where they were, because destinations decide by setting whether custom data may hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.event import PURPOSES

Fields = Mapping[str, Any]
Data = dict[str, dict[str, Any]]

CONTEXT: dict[str, tuple[str, str]] = {
    "ip": ("device", "ip"),
    "userAgent": ("device", "user_agent"),
    "locale": ("device", "language"),
    "timezone": ("device", "timezone"),
    "fbp": ("ids", "fbp"),
    "fbc": ("ids", "fbc"),
    "sessionId": ("session", "id"),
}
"""context.X → section, key."""

CONTEXT_MAPS: dict[str, dict[str, tuple[str, str]]] = {
    "page": {"url": ("page", "url"), "referrer": ("page", "referrer"), "title": ("page", "title")},
    "campaign": {
        **{key: ("campaign", key) for key in ("name", "source", "medium", "term", "content", "id")},
    },
    "screen": {"width": ("device", "screen_width"), "height": ("device", "screen_height")},
    "os": {"name": ("device", "os"), "version": ("device", "os_version")},
    "device": {
        **{key: ("device", key) for key in ("id", "model", "manufacturer", "type")},
        "advertisingId": ("device", "advertising_id"),
        "adTrackingEnabled": ("device", "ad_tracking"),
    },
    "app": {key: ("app", key) for key in ("name", "version", "build", "namespace")},
    "library": {"name": ("raw", "library"), "version": ("raw", "library_version")},
    "location": {"city": ("geo", "city"), "region": ("geo", "region"), "country": ("geo", "country")},
    "referrer": {"id": ("raw", "referrer_id"), "type": ("raw", "referrer_type")},
    "network": {"carrier": ("raw", "carrier")},
}
"""context.X.Y → section, key."""
_ELSEWHERE = frozenset(
    """traits externalId consent consentManagement dataProcessingOptions userAgentData groupId library page campaign
    integrations channel call""".split()
)
"""Parts of the context that are read by rules of their own, or of which nothing more is worth keeping."""

TRAITS: dict[str, tuple[str, ...]] = {
    "email": ("email",),
    "phone": ("phone",),
    "first_name": ("firstName", "first_name", "firstname"),
    "last_name": ("lastName", "last_name", "lastname"),
    "birthdate": ("birthday", "birthdate", "date_of_birth", "dob"),
    "gender": ("gender",),
    "street": ("street",),
    "city": ("city",),
    "state": ("state", "region"),
    "zip": ("postalCode", "postal_code", "postalcode", "postcode", "zip", "zipcode", "zipCode", "zip_code"),
    "country": ("country",),
}
"""user.X ← the first of these traits; an address is looked into before the traits themselves."""
_ADDRESS = ("street", "city", "state", "zip", "country")
_NAMES = ("name", "fullName", "full_name")

PROPERTY_IDS = {
    **{name: name for name in ("fbp", "fbc", "fbclid", "gclid", "gbraid", "wbraid", "dclid", "ttclid", "ttp", "msclkid")},
    **{name: name for name in ("twclid", "li_fat_id", "epik", "rdt_cid")},
    "ScCid": "sccid",
    "sccid": "sccid",
    "ga_client_id": "ga_client_id",
    "ga_session_id": "ga_session_id",
}
"""properties.X → ids.Y."""

_GA4 = ("google analytics 4", "ga4", "google analytics 4 (ga4)")
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_COUNTRY = re.compile(r"[A-Za-z]{2}")


def mapping(value: object) -> Fields:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def first(*candidates: object) -> Any:
    """The first that is neither null nor empty text."""
    return next((value for value in candidates if value is not None and value != ""), None)


def snake(name: str) -> str:
    """`ga4ClientId` and `GA4-client-id` → `ga4_client_id`."""
    return "_".join(part for part in _BORDER.split(name) if part).lower()


def from_context(context: Fields) -> Data:
    """The sections that `context` speaks of."""
    data: Data = {}
    for key, (section, field) in CONTEXT.items():
        _put(data, section, field, context.get(key))
    for key, places in CONTEXT_MAPS.items():
        part = context.get(key)
        if isinstance(part, dict):
            for name, (section, field) in places.items():
                _put(data, section, field, part.get(name))
    _put(data, "device", "os", mapping(context.get("userAgentData")).get("platform"))
    country = data.get("geo", {}).get("country")
    if country is not None and not (isinstance(country, str) and _COUNTRY.fullmatch(country)):
        del data["geo"]["country"]
    _external_ids(context.get("externalId"), data)
    _consent(context, data)
    _leftovers(context, data)
    return data


def _leftovers(context: Fields, data: Data) -> None:
    """What no field holds goes to `raw` under its own name, so that a mapping can still reach it."""
    for key, part in context.items():
        known = CONTEXT_MAPS.get(key)
        if key in CONTEXT or key in _ELSEWHERE:
            continue
        if known is not None:
            part = {name: value for name, value in part.items() if name not in known} if isinstance(part, dict) else None
        if part not in (None, "", {}, []):
            data.setdefault("raw", {}).setdefault(key, part)


def _put(data: Data, section: str, field: str, value: object) -> None:
    """Set a field that has no value yet."""
    if value is not None and value != "":
        data.setdefault(section, {}).setdefault(field, value)


def _external_ids(given: object, data: Data) -> None:
    for entry in given if isinstance(given, list) else ():
        kind, value = mapping(entry).get("type"), _id_text(mapping(entry).get("id"))
        if isinstance(kind, str) and (name := snake(kind)) and value:
            _put(data, "ids", name, value)
            if name == "ga4_client_id" and isinstance(value, str):
                _put(data, "ids", "ga_client_id", value)


def _id_text(value: object) -> str | list[str]:
    """An id as text; some vendors take several of a person."""
    if isinstance(value, list):
        return [str(one) for one in value if isinstance(one, (str, int))]
    return str(value) if isinstance(value, (str, int)) else ""


def _consent(context: Fields, data: Data) -> None:
    given = mapping(context.get("consent"))
    block = {key: given[key] for key in (*PURPOSES, "sale_opt_out", "explicit") if key in given}
    categories = {**mapping(given.get("categoryPreferences")), **_listed(mapping(context.get("consentManagement")))}
    if categories:
        block["categories"] = categories
    options = context.get("dataProcessingOptions")
    if isinstance(options, list) and any(option in ("LDU", ["LDU"]) for option in options):
        block["sale_opt_out"] = True
        for key, place in zip(("dpoco", "dpost"), options[1:], strict=False):  # country and state, as Meta's pixel calls them
            _put(data, "raw", key, place or None if type(place) is int else None)
    if block:
        data["consent"] = block


def _listed(given: Fields) -> dict[str, bool]:
    """RudderStack's form: the categories that were allowed, and those that were denied; the denial of one in both holds."""
    lists = {key: one if isinstance(one := given.get(key), list) else [] for key in ("allowedConsentIds", "deniedConsentIds")}
    allowed, denied = ([name for name in names if isinstance(name, str)] for names in lists.values())
    return {**dict.fromkeys(allowed, True), **dict.fromkeys(denied, False)}


def user(traits: Fields, call: Fields, props: Fields) -> dict[str, Any]:
    """`user` out of merged traits, the call's own ids, and e-mail and phone of the properties. Unknown traits are kept."""
    found: dict[str, Any] = {}
    rest = {key: value for key, value in traits.items() if key != "event_id"}
    own = first(call.get("userId"), rest.pop("userId", None), rest.get("id"))
    _set(found, "id", own)
    if own is not None and own == rest.get("id"):
        del rest["id"]
    _set(found, "anonymous_id", first(call.get("anonymousId"), rest.pop("anonymousId", None)))
    address = rest.get("address")
    left = dict(address) if isinstance(address, dict) else {}
    for field, spellings in TRAITS.items():
        inside = _take(left, spellings) if field in _ADDRESS else None
        _set(found, field, first(inside, _take(rest, spellings)))
    if isinstance(address, dict):
        rest["address"] = left
        if not left:
            del rest["address"]
    _split_name(found, rest)
    for field in ("email", "phone"):
        if field not in found and isinstance(props.get(field), (str, int, list)):
            _set(found, field, props[field])
    if rest:
        found["traits"] = rest
    return found


def _set(found: dict[str, Any], field: str, value: object) -> None:
    if value is not None and value != "":
        found[field] = value


def _take(fields: dict[str, Any], spellings: tuple[str, ...]) -> Any:
    """The first filled spelling, taken out; the other spellings of the same fact stay."""
    for name in spellings:
        value = fields.get(name)
        if value is not None and value != "" and not isinstance(value, dict):
            return fields.pop(name)
    return None


def _split_name(found: dict[str, Any], rest: Fields) -> None:
    """A full name says first and last only where it has exactly two parts."""
    full = first(*(rest.get(key) for key in _NAMES))
    if isinstance(full, str) and "first_name" not in found and "last_name" not in found:
        parts = full.split()
        if len(parts) == 2:
            found["first_name"], found["last_name"] = parts


def move_page(kind: str, props: dict[str, Any], data: Data) -> None:
    """A page call repeats its page among the properties."""
    if kind != "page":
        return
    for key in ("url", "referrer", "title"):
        if isinstance(props.get(key), str):
            _put(data, "page", key, props[key])
            if data.get("page", {}).get(key) == props[key]:
                del props[key]


def drop_direct(data: Data) -> None:
    """RudderStack's browser SDK has a word for a visit without a referrer, and no address of it."""
    page = data.get("page", {})
    if page.get("referrer") == "$direct":
        del page["referrer"]


def move_ids(props: dict[str, Any], data: Data) -> None:
    """Click ids and cookies among the properties go to `ids`; a session id goes to `session` and stays."""
    for name, field in PROPERTY_IDS.items():
        if name in props and isinstance(props[name], (str, int)):
            _put(data, "ids", field, props[name])
            if data.get("ids", {}).get(field) == props[name]:
                del props[name]
    _put(data, "session", "id", first(props.get("session_id"), props.get("sessionId")))


def from_integrations(given: object, data: Data) -> None:
    """`integrations` as a map of destination → bool; ids among their options go to `ids`, small options to `raw`."""
    routing: dict[str, Any] = {}
    for name, choice in mapping(given).items():
        if name == "Segment.io" or not isinstance(choice, (bool, dict)):
            continue
        routing[name] = bool(choice) if isinstance(choice, bool) else True
        if isinstance(choice, dict):
            _options(name, choice, data)
    if routing and routing != {"All": True}:
        data["integrations"] = routing


def _options(name: str, options: Fields, data: Data) -> None:
    for key, value in options.items():
        if key in PROPERTY_IDS:
            _put(data, "ids", PROPERTY_IDS[key], value)
        elif key == "click_id" and name.lower().startswith("snap"):
            _put(data, "ids", "sccid", value)
        elif key == "uuid_c1" and name.lower().startswith("snap"):
            _put(data, "ids", "scid", value)
    if name.lower() in _GA4:
        # what the page's own tag said of itself is nearer than an id attached elsewhere
        if first(options.get("clientId")) is not None:
            data.setdefault("ids", {})["ga_client_id"] = options["clientId"]
        _put(data, "ids", "ga_session_id", options.get("sessionId"))
        _put(data, "session", "number", options.get("sessionNumber"))
        for purpose in ("ad_user_data", "ad_personalization"):
            if mapping(options.get("consents")).get(purpose) == "DENIED":
                data.setdefault("consent", {})[purpose] = "denied"
    if options:
        raw = data.setdefault("raw", {})
        raw["integrations"] = {**mapping(raw.get("integrations")), name: dict(options)}
