"""What a case's `action` and `mapping` say, as a patch of a rule and of the envelope.

The tables translate the peers' field names into the vendors' own; a field that no table knows is not part of the payload
(switches of the peer's form such as `use_app_data`).
"""

from __future__ import annotations

import re
from typing import Any

from tests.conformance.cases import Case
from tests.conformance.paths import text, value

META_USER = {
    "email": ("em", "email | sha256"),
    "phone": ("ph", "phone_digits | sha256"),
    "firstName": ("fn", "name | sha256"),
    "lastName": ("ln", "name | sha256"),
    "city": ("ct", "city | sha256"),
    "state": ("st", "state | sha256"),
    "zip": ("zp", "zip | sha256"),
    "country": ("country", "country | sha256"),
    "gender": ("ge", "gender | sha256"),
    "dateOfBirth": ("db", "dob | sha256"),
    "externalId": ("external_id", "lower | sha256"),
    "client_ip_address": ("client_ip_address", ""),
    "client_user_agent": ("client_user_agent", ""),
    "fbc": ("fbc", ""),
    "fbp": ("fbp", ""),
    "subscriptionID": ("subscription_id", ""),
    "leadID": ("lead_id", ""),
    "anonId": ("anon_id", ""),
    "madId": ("madid", ""),
    "partner_id": ("partner_id", ""),
    "partner_name": ("partner_name", ""),
}
_HASHED = frozenset("em ph fn ln ct st zp country ge db external_id".split())
_META_EVENT = ("action_source", "event_time", "event_id", "event_source_url", "data_processing_options_country",
               "data_processing_options_state")  # fmt: skip
_META_CUSTOM = ("value", "currency", "content_ids", "content_name", "content_type", "content_category", "contents", "num_items",
                "search_string", "order_id", "predicted_ltv", "net_revenue", "status")  # fmt: skip
_META_ACTIONS = {
    "pageView": "PageView", "viewContent": "ViewContent", "search": "Search", "addToCart": "AddToCart",
    "addToWishlist": "AddToWishlist", "initiateCheckout": "InitiateCheckout", "addPaymentInfo": "AddPaymentInfo",
    "purchase": "Purchase", "lead": "Lead", "completeRegistration": "CompleteRegistration",
}  # fmt: skip
_TIKTOK_SOURCES = {
    "reportWebEvent": "web",
    "reportAppEvent": "app",
    "trackNonPaymentOfflineConversion": "offline",
    "trackPaymentOfflineConversion": "offline",
    "reportOfflineEvent": "offline",
    "reportCrmEvent": "crm",
}
_TIKTOK_USER = {
    "email_addresses": ("email", "email | sha256"),
    "phone_numbers": ("phone", "phone | sha256"),
    "email": ("email", "email | sha256"),
    "phone_number": ("phone", "phone | sha256"),
    "external_id": ("external_id", "lower | sha256"),
    "first_name": ("first_name", "name_compact | sha256"),
    "last_name": ("last_name", "name_compact | sha256"),
    "zip_code": ("zip_code", "zip_compact | sha256"),
    "ttclid": ("ttclid", ""),
    "ttp": ("ttp", ""),
    "ip": ("ip", ""),
    "user_agent": ("user_agent", ""),
}
_TIKTOK_PROPS = tuple(
    "contents content_type content_ids num_items currency value query description order_id shop_id delivery_category".split()
)
_GA4_PARAMS = ("currency", "value", "transaction_id", "items", "coupon", "affiliation", "shipping", "tax", "payment_type",
               "shipping_tier", "search_term", "method", "item_list_id", "item_list_name", "promotion_id", "promotion_name",
               "creative_name", "creative_slot", "location_id", "engagement_time_msec", "page_location", "page_title",
               "page_referrer", "session_id")  # fmt: skip
_GA4_ENVELOPE = ("client_id", "app_instance_id", "user_id", "timestamp_micros")


def mapping(case: Case) -> dict[str, Any]:
    """The case's explicit field values."""
    return case.config.get("mapping") or {}


def rule(case: Case) -> dict[str, Any]:
    """The patch of the event's rule: platform name and body. Empty where the case has no action."""
    if not case.action:
        return {}
    made = {"meta": _meta, "ga4": _ga4, "tiktok": _tiktok}.get(case.destination)
    return made(case) if made else {}


def _platform_name(case: Case, name: str) -> dict[str, Any]:
    return {"name": name} if name else {}


def _meta(case: Case) -> dict[str, Any]:
    given = mapping(case)
    action = case.action.removesuffix("2")
    body: dict[str, Any] = {key: value(given[key]) for key in _META_EVENT if key in given}
    custom: dict[str, Any] = {key: value(given[key]) for key in _META_CUSTOM if key in given}
    if "custom_data" in given:
        custom["$merge"] = [value(given["custom_data"])]
    if custom:
        body["custom_data"] = custom
    if "user_data" in given:
        body["user_data"] = _user(given["user_data"], META_USER)
    elif case.config.get("default_mapping") is False:
        body["user_data"] = None  # only what is mapped exists
    if "data_processing_options" in given:
        chosen = given["data_processing_options"]
        body["data_processing_options"] = {"$when": f"({text(chosen)}) | bool", "$value": ["LDU"]}
    app = given.get("app_data_field") or {}
    if app.get("use_app_data"):
        # ours has app_data for events of an app alone; null takes that condition away
        body["app_data"] = {"$when": None} | ({"madid": text(app["madId"])} if "madId" in app else {})
    name = _META_ACTIONS.get(action) or (value(given["event_name"]) if "event_name" in given else "$event.name")
    return _platform_name(case, name) | ({"body": body} if body else {})


def _user(given: dict[str, Any], table: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """An explicit user object stands instead of the stock one."""
    made: dict[str, Any] = {name: None for name, _ in table.values()}
    for field, inner in given.items():
        if field in table and inner not in (None, "", {}):
            name, functions = table[field]
            shaped = text(inner) + (f" | {functions}" if functions else "")
            made[name] = [shaped] if name in _HASHED else shaped
    return made


def _ga4(case: Case) -> dict[str, Any]:
    given = mapping(case)
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", case.action.removesuffix("2")).lower()
    custom = snake == "custom_event"
    params: dict[str, Any] = {key: value(given[key]) for key in _GA4_PARAMS if key in given}
    if isinstance(given.get("params"), dict):
        params.update({key: value(inner) for key, inner in given["params"].items()})
    free = value(given["name"]) if "name" in given else "$event.name | trim | replace:' ','_'"
    name = free if custom else snake
    return {"name": name} | ({"body": {"params": params}} if params else {})


def _tiktok(case: Case) -> dict[str, Any]:
    given = mapping(case)
    body: dict[str, Any] = {}
    props = {key: value(given[key]) for key in _TIKTOK_PROPS if key in given}
    if props:
        body["properties"] = props
    users = {name: inner for key, inner in given.items() if key in _TIKTOK_USER for name in [key]}
    if users:
        body["user"] = {_TIKTOK_USER[key][0]: [text(inner) + (f" | {fn}" if (fn := _TIKTOK_USER[key][1]) else "")]
                        for key, inner in users.items()}  # fmt: skip
    for key in ("event_id", "limited_data_use"):
        if key in given:
            body[key] = value(given[key])
    name = value(given["event"]) if "event" in given else ""
    return _platform_name(case, name) | ({"body": body} if body else {})


def envelope(case: Case) -> dict[str, Any]:
    """The patch of `batch.wrap`: what a case maps beside the events, and the peer's stock identity of the client."""
    given = mapping(case)
    if case.destination == "meta":
        return {"test_event_code": value(given["test_event_code"])} if "test_event_code" in given else {}
    if case.destination != "ga4" or not case.action:
        return {}
    wrap: dict[str, Any] = {key: value(given[key]) for key in _GA4_ENVELOPE if key in given}
    if case.action == "customEvent":
        wrap.pop("client_id", None)  # that action calls its field clientId
        if "clientId" in given:
            wrap["client_id"] = value(given["clientId"])
    if settings(case).get("client_type") == "firebase":
        wrap.setdefault("app_instance_id", "$ids.ga_app_instance_id")
    else:
        wrap.setdefault("client_id", "$user.id // $user.anonymous_id")
    consent = {
        name: value(given[f"{name}_consent"]) for name in ("ad_user_data", "ad_personalization") if f"{name}_consent" in given
    }
    if consent:
        wrap["consent"] = consent
    if isinstance(given.get("user_properties"), dict):
        wrap["user_properties"] = {name: {"value": value(inner)} for name, inner in given["user_properties"].items()}
    return wrap


def settings(case: Case) -> dict[str, Any]:
    """Settings that an action or a mapping implies."""
    given = mapping(case)
    if case.destination == "ga4" and case.action:
        return {"client_type": "firebase" if given.get("data_stream_type") == "Mobile App" else "gtag"}
    if case.destination == "tiktok" and case.action:
        return {"event_source": str(given.get("event_source") or _TIKTOK_SOURCES.get(case.action, "web"))}
    return {}


def webhook_headers(case: Case) -> dict[str, str]:
    """Constant headers of the settings; those taken from an event are refused by design."""
    headers: dict[str, str] = {}
    for entry in case.config.get("headers") or []:
        name, given = _header(entry)
        if name and given is not None:
            headers[name] = given
    if case.config.get("auth") == "apiKeyAuth":
        headers[str(case.config["apiKeyName"])] = "${CASE_SECRET}"
    return headers


def _header(entry: dict[str, Any]) -> tuple[str, str | None]:
    """`{from: 'x', to: $.h}` of the mapped builder, `{from: name, to: value}` of the plain one."""
    source, target = str(entry["from"]), str(entry["to"])
    if target.startswith("$"):
        name = target.removeprefix("$.").strip("'[]\"")
        constant = source.strip("'") if not source.startswith("$") else None
        return ("" if name.lower() == "content-type" else name), constant
    return source, target


def webhook_events(case: Case) -> dict[str, Any]:
    """The mapped builder's body, path and query as a rule of ours."""
    given = mapping(case)
    if "data" in given:
        return {"*": {"body": {"$merge": [value(given["data"])]}}}
    return {}
