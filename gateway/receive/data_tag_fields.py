"""Where the fields of a Data Tag event stand in the canonical event: tables with every spelling, and the older shop object.

A field moves: it is at one place afterwards; what no table names stays a property of the event under its own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]
Data = dict[str, dict[str, Any]]

NAMES = ("event_name", "eventName", "event", "e_n")
"""Where the name of the event may stand, first filled one."""
IDS = ("event_id", "eventId", "unique_event_id")
CLIENT_IDS = ("client_id", "data_client_id", "_dcid")

ALIASES: dict[tuple[str, str], tuple[str, ...]] = {
    ("page", "url"): ("page_location", "pageLocation", "url", "href"),
    ("page", "referrer"): ("page_referrer", "pageReferrer", "referrer", "urlref"),
    ("page", "title"): ("page_title", "pageTitle"),
    ("device", "ip"): ("ip_override", "ip", "ipOverride"),
    ("device", "user_agent"): ("user_agent", "userAgent"),
    ("device", "language"): ("language",),
    ("user", "id"): ("user_id", "userId"),
    ("raw", "page_encoding"): ("page_encoding", "pageEncoding"),
    ("raw", "page_path"): ("page_path", "pagePath"),
    ("raw", "page_hostname"): ("page_hostname", "pageHostname", "hostname"),
    ("raw", "measurement_id"): ("x-ga-measurement_id",),
    ("session", "id"): ("ga_session_id",),
    ("session", "number"): ("ga_session_number",),
    ("props", "value"): ("value", "e_v"),
}
"""Section, key ← the first filled of these."""

SIZES: dict[tuple[str, ...], tuple[str, str]] = {
    ("screen_resolution", "screenResolution"): ("screen_width", "screen_height"),
    ("viewport_size", "viewportSize"): ("viewport_width", "viewport_height"),
}

USER: dict[str, tuple[str, ...]] = {
    "email": ("email_address", "email", "sha256_email_address", "userEmail", "mail"),
    "phone": ("phone_number", "phone", "sha256_phone_number", "userPhoneNumber", "phoneNumber"),
    "first_name": ("first_name", "sha256_first_name", "userFirstName", "firstName"),
    "last_name": ("last_name", "sha256_last_name", "userLastName", "lastName", "surname", "family_name", "familyName"),
    "street": ("street", "sha256_street"),
    "city": ("city",),
    "state": ("region", "state"),
    "zip": ("postal_code", "postalCode", "zip"),
    "country": ("country",),
    "birthdate": ("db", "date_of_birth"),
    "gender": ("gender",),
}
"""user.X ← the first of these in `user_data.address`, in `user_data`, among the event's own fields."""

PURPOSES = {
    **{name: name for name in ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage")},
    "functionality_storage": "functional",
}
"""consent_state.X → consent.Y."""

_WORD = r"([A-Za-z0-9_.~=+/-]{5,512})"
_META = r"(fb\.\d\.\d{10,16}\.[A-Za-z0-9_.-]{1,512})"
COOKIES: dict[str, tuple[str, str]] = {
    "_fbp": ("fbp", _META),
    "_fbc": ("fbc", _META),
    "ttclid": ("ttclid", _WORD),
    "_ttp": ("ttp", _WORD),
    "_epik": ("epik", _WORD),
    "_scid": ("scid", _WORD),
    "_scclid": ("sccid", _WORD),
    "taboola_cid": ("tblci", _WORD),
    "awin_awc": ("awc", _WORD),
    "outbrain_cid": ("obclid", _WORD),
    "rakuten_ran_site_id": ("ran_site_id", _WORD),
    "li_fat_id": ("li_fat_id", _WORD),
    "_gcl_aw": ("gclid", r"GCL\.\d{9,11}\.([A-Za-z0-9_-]{10,500})"),
    "FPGCLAW": ("gclid", r"(?:GCL\.\d{9,11}|2\.1\.k)\.?([A-Za-z0-9_-]{10,500})"),
    "uet_msclkid": ("msclkid", r"(?:_uet)?([0-9a-fA-F]{32}(?:-[0-9A-Za-z]{1,20})?)"),
    "_uetmsclkid": ("msclkid", r"(?:_uet)?([0-9a-fA-F]{32}(?:-[0-9A-Za-z]{1,20})?)"),
    "uet_vid": ("uetvid", r"([0-9a-fA-F]{32})(?:\|.{0,200})?"),
    "_uetvid": ("uetvid", r"([0-9a-fA-F]{32})(?:\|.{0,200})?"),
}
"""common_cookie.X → ids.Y, the id as the pattern's group. Cookies that hold an address or a purchase history are not read."""

NOT_KEPT = frozenset(
    ("gtm", "_dcid_temp", "richsstsse", "common_cookie", "consent_state", "user_data", "ecommerce", "writeKey", "k")
)
_NOT_KEPT_PREFIXES = ("gtm.", "x-ga-", "x-sst-")

_ACTIONS = ("detail", "click", "add", "remove", "checkout", "checkout_option", "purchase", "refund")
"""Parts of the older shop object of Universal Analytics, in the order in which they are looked for."""
_ORDER = {
    "id": "transaction_id",
    "revenue": "revenue",
    "tax": "tax",
    "shipping": "shipping",
    "coupon": "coupon",
    "affiliation": "affiliation",
    "step": "checkout_step",
    "option": "checkout_option",
    "list": "item_list_name",
}
_GA = re.compile(r"\d{1,20}\.\d{1,20}", re.ASCII)
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})", re.ASCII)


def filled(value: object) -> bool:
    """Whether a field says anything."""
    return value is not None and value != ""


def take(fields: Fields, names: tuple[str, ...]) -> Any:
    """The first filled of these fields; all of them are taken out."""
    found = None
    for name in names:
        if name in fields:
            value = fields.pop(name)
            found = value if found is None and filled(value) else found
    return found


def put(data: Data, section: str, key: str, value: object) -> None:
    """Set a field that has no value yet."""
    if filled(value):
        data.setdefault(section, {}).setdefault(key, value)


def common(fields: Fields, data: Data) -> None:
    """Move page, device and user fields out of `fields`, by ALIASES and SIZES."""
    for (section, key), names in ALIASES.items():
        put(data, section, key, take(fields, names))
    for names, keys in SIZES.items():
        given = take(fields, names)
        match = _SIZE.fullmatch(given.strip()) if isinstance(given, str) else None
        for key, number in zip(keys, match.groups() if match else (), strict=False):
            put(data, "device", key, int(number))


def user(fields: Fields, data: Data) -> None:
    """`user_data`, its address, and the same among the event's own fields.

    A single `name` is a first name only beside a last name: it is as often the name of a thing.
    """
    given = fields.get("user_data")
    known: Fields = dict(given) if isinstance(given, dict) else {}
    address = known.get("address")
    address = next((one for one in address if isinstance(one, dict)), {}) if isinstance(address, list) else address
    parts: list[Fields] = [dict(address) if isinstance(address, dict) else {}, known, fields]
    for key, names in USER.items():
        for part in parts:
            put(data, "user", key, take(part, names))
    if "last_name" in data.get("user", {}) and "first_name" not in data["user"] and isinstance(fields.get("name"), str):
        put(data, "user", "first_name", fields.pop("name"))


def cookies(given: object, data: Data) -> None:
    """Ids out of the cookies that the tag read in the page."""
    if not isinstance(given, dict):
        return
    for name, (key, pattern) in COOKIES.items():
        value = given.get(name)
        match = re.fullmatch(pattern, value, re.ASCII) if isinstance(value, str) else None
        if match:
            put(data, "ids", key, match[1])


def consent(given: object) -> dict[str, str] | None:
    """Google's consent state of the page, by our purposes; None where it says nothing."""
    if not isinstance(given, dict):
        return None
    block = {ours: _choice(given[name]) for name, ours in PURPOSES.items() if name in given}
    return block or None


def _choice(value: object) -> str:
    if isinstance(value, str):
        return "granted" if value.strip().lower() in ("granted", "true", "1") else "denied"
    return "granted" if value is True or value == 1 else "denied"


def shop(given: object, fields: Fields) -> None:
    """Move the `ecommerce` object among the fields: GA4's keys as they are, the older form's order and products."""
    if not isinstance(given, dict):
        return
    action = next((given[key] for key in _ACTIONS if isinstance(given.get(key), dict)), None)
    if action is None:
        for key, value in given.items():
            fields.setdefault(key, value)
        return
    order = action.get("actionField")
    for old, new in _ORDER.items():
        if isinstance(order, dict) and filled(order.get(old)) and not filled(fields.get(new)):
            fields[new] = order[old]
    if not filled(fields.get("currency")) and filled(given.get("currencyCode")):
        fields["currency"] = given["currencyCode"]
    products = action.get("products")
    if isinstance(products, list) and not isinstance(fields.get("items"), list):
        fields["items"] = products


def currency_of_items(fields: Fields, data: Data) -> None:
    """The currency of the first item, where the event names none."""
    items = fields.get("items")
    if isinstance(items, list) and items and isinstance(items[0], Mapping):
        put(data, "props", "currency", fields.pop("currency", None) or items[0].get("currency"))


def kept(name: str) -> bool:
    """Whether a field that no table named is a property of the event."""
    return name not in NOT_KEPT and not name.startswith(_NOT_KEPT_PREFIXES)


def is_ga_client(value: object) -> bool:
    """Whether a client id has the form of Google Analytics' own."""
    return isinstance(value, str) and _GA.fullmatch(value) is not None
