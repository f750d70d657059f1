"""GA4 Measurement Protocol: `POST /mp/collect`, and `POST /debug/mp/collect`, which validates and records nothing.

Web hits, `/g/collect`, are gateway/lab/ga4_web.py.

The collect endpoint answers 204 to anything. What Analytics would drop behind that answer is noted in the inbox with the
reason; what it would silently cut or leave out of reports is a note on an accepted event. The debug endpoint says the same
things as validationMessages: all of them with `validation_behavior: ENFORCE_RECOMMENDATIONS`, without it only what makes
the payload unreadable. It looks at neither api_secret nor measurement_id, as the real one.

An api_secret or measurement_id named `expired` or `unknown` is a wrong one: 204, and nothing is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.lab import ga4_web
from gateway.lab.checks import (
    Fault,
    Kind,
    Path,
    address,
    anything,
    boolean,
    clear,
    hashed,
    is_integer,
    is_number,
    is_text,
    listing,
    number,
    one_of,
    one_or_many,
    rule,
    shape,
    text,
)
from gateway.lab.vendor import RETRY_AFTER, Answer, Call, Mode, Noted, json_answer, parse, text_of

COLLECT, DEBUG = "/mp/collect", "/debug/mp/collect"
MAX_BYTES, MAX_EVENTS, MAX_PARAMS, MAX_ITEMS, MAX_PROPERTIES = 130_000, 25, 25, 200, 25
MAX_VALUE = 100
LONG_VALUES = {"page_location": 1000, "page_referrer": 420, "page_title": 300}
MAX_AGE_US, MAX_AHEAD_US = 72 * 3600 * 1_000_000, 60 * 1_000_000
WRONG = ("expired", "unknown")
RESERVED_EVENTS = frozenset(
    """ad_activeview ad_click ad_exposure ad_impression ad_query adunit_exposure app_clear_data app_install app_update
    app_remove error first_open first_visit in_app_purchase notification_dismiss notification_foreground notification_open
    notification_receive os_update screen_view session_start user_engagement""".split()
)
RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
RESERVED_PROPERTIES = frozenset(
    "first_open_time first_visit_time last_deep_link_referrer user_id first_open_after_install".split()
)
NEEDED = {
    "purchase": ("transaction_id",),
    "refund": ("transaction_id",),
}
WANTED = {
    "purchase": ("value", "currency", "items"),
    "refund": ("value", "currency"),
    "add_to_cart": ("value", "currency", "items"),
    "begin_checkout": ("value", "currency", "items"),
    "generate_lead": ("value", "currency"),
}
DEVICE = """category language screen_resolution operating_system operating_system_version model brand browser
browser_version""".split()
UNREADABLE = "UNREADABLE"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")

_currency = rule(lambda v: isinstance(v, str) and re.fullmatch("[A-Z]{3}", v), "must be an ISO 4217 code in upper case")
_granted = one_of("GRANTED", "DENIED")
_micros = rule(lambda v: is_integer(v) and 10**15 <= v < 10**17, "must be microseconds since the epoch")
_scalar = rule(lambda v: isinstance(v, str) or is_number(v) or isinstance(v, bool), "must be text or a number")
_amount = rule(is_number, "must be a number")
ITEM = shape(
    {
        "price": number,
        "discount": number,
        "quantity": rule(is_integer, "must be a whole number"),
        "index": rule(is_integer, "must be a whole number"),
    },
    extra=_scalar,
)
PARAMS = shape(
    {
        "session_id": rule(
            lambda v: is_integer(v) or (isinstance(v, str) and re.fullmatch(r"\d+", v)),
            "must be digits: anything else is taken and then ignored",
        ),
        "engagement_time_msec": rule(lambda v: is_number(v) and v > 0, "must be a number above 0"),
        "value": _amount,
        "tax": _amount,
        "shipping": _amount,
        "currency": _currency,
        "transaction_id": text,
        "items": listing(ITEM, at_most=MAX_ITEMS, code="EXCEEDED_MAX_ENTITIES"),
        "debug_mode": _scalar,
    },
    extra=_scalar,
)
EVENT = shape({"name": text, "params": PARAMS, "timestamp_micros": _micros}, required=["name"])
USER_ADDRESS = shape(
    dict.fromkeys(("sha256_first_name", "sha256_last_name", "sha256_street"), hashed)
    | dict.fromkeys(("city", "region", "postal_code", "country"), clear)
)
ENVELOPE = shape(
    {
        "client_id": text,
        "app_instance_id": text,
        "user_id": rule(lambda v: is_text(v) and len(v) <= 256 and "@" not in v, "must be text of at most 256, no e-mail"),
        "timestamp_micros": _micros,
        "user_properties": anything,
        "user_data": shape(
            {
                "sha256_email_address": one_or_many(hashed),
                "sha256_phone_number": one_or_many(hashed),
                "address": one_or_many(USER_ADDRESS),
            }
        ),
        "consent": shape({"ad_user_data": _granted, "ad_personalization": _granted}),
        "non_personalized_ads": boolean,
        "user_location": shape(dict.fromkeys(("city", "region_id", "country_id", "subcontinent_id", "continent_id"), text)),
        "ip_override": address,
        "device": shape(dict.fromkeys(DEVICE, text), required=["category"]),
        "user_agent": text,
        "validation_behavior": one_of("RELAXED", "ENFORCE_RECOMMENDATIONS"),
        "events": listing(anything, at_least=1, at_most=MAX_EVENTS, code="EXCEEDED_MAX_ENTITIES"),
    },
    required=["events"],
)


def envelope_faults(body: Any, app: bool, size: int, now: float) -> Iterator[Fault]:
    """What is wrong with everything but the events: such a request is dropped whole."""
    if body is None or not isinstance(body, dict):
        yield Fault((), Kind.INVALID, "the body is not a JSON object", UNREADABLE)
        return
    if size > MAX_BYTES:
        yield Fault((), Kind.INVALID, f"the body is larger than {MAX_BYTES} bytes", UNREADABLE)
    yield from ENVELOPE(body, ())
    needed = "app_instance_id" if app else "client_id"
    if not body.get(needed):
        yield Fault((needed,), Kind.REQUIRED, "is required", UNREADABLE)
    yield from _time_faults(body, (), now)
    yield from _property_faults(body.get("user_properties"))


def _time_faults(holder: dict[str, Any], path: Path, now: float) -> Iterator[Fault]:
    at = holder.get("timestamp_micros")
    if not is_integer(at) or not 10**15 <= at < 10**17:
        return
    if at < now * 1e6 - MAX_AGE_US:
        yield Fault((*path, "timestamp_micros"), Kind.INVALID, "is more than 72 hours old", "VALUE_OUT_OF_BOUNDS")
    elif at > now * 1e6 + MAX_AHEAD_US:
        yield Fault((*path, "timestamp_micros"), Kind.INVALID, "lies in the future", "VALUE_OUT_OF_BOUNDS")


def _property_faults(properties: Any) -> Iterator[Fault]:
    if properties is None:
        return
    if not isinstance(properties, dict) or len(properties) > MAX_PROPERTIES:
        yield Fault(
            ("user_properties",), Kind.INVALID, f"must be an object of at most {MAX_PROPERTIES}", "EXCEEDED_MAX_ENTITIES"
        )
        return
    for name, value in properties.items():
        path: Path = ("user_properties", name)
        if name in RESERVED_PROPERTIES or name.startswith(RESERVED_PREFIXES):
            yield Fault(path, Kind.INVALID, "is a reserved name", "NAME_RESERVED")
        elif not _NAME.fullmatch(name) or len(name) > 24:
            yield Fault(path, Kind.INVALID, "must be 1 to 24 letters, digits and underscores", "NAME_INVALID")
        if not isinstance(value, dict) or "value" not in value:
            yield Fault(path, Kind.REQUIRED, 'must be {"value": …}')
        elif len(str(value["value"])) > 36:
            yield Fault(path, Kind.INVALID, "is longer than 36 characters", "VALUE_OUT_OF_BOUNDS")


def event_faults(event: Any, now: float) -> Iterator[Fault]:
    """What makes Analytics drop an event, or a part of it."""
    yield from EVENT(event, ())
    if not isinstance(event, dict):
        return
    name = text_of(event, "name")
    if name in RESERVED_EVENTS or name.startswith(RESERVED_PREFIXES):
        yield Fault(("name",), Kind.INVALID, f"{name} is reserved", "NAME_RESERVED")
    elif not _NAME.fullmatch(name):
        yield Fault(("name",), Kind.INVALID, "must be 1 to 40 letters, digits and underscores, a letter first", "NAME_INVALID")
    params = event.get("params", {})
    if isinstance(params, dict):
        yield from _param_faults(name, params)
    yield from _time_faults(event, (), now)


def _param_faults(event: str, params: dict[str, Any]) -> Iterator[Fault]:
    for name in params:
        if name.startswith(RESERVED_PREFIXES):
            yield Fault(("params", name), Kind.INVALID, "is a reserved name", "NAME_RESERVED")
        elif not _NAME.fullmatch(name):
            yield Fault(("params", name), Kind.INVALID, "must be 1 to 40 letters, digits and underscores", "NAME_INVALID")
    for name in NEEDED.get(event, ()):
        if not params.get(name):
            yield Fault(("params", name), Kind.REQUIRED, f"is required for {event}")
    for index, item in enumerate(params["items"] if isinstance(params.get("items"), list) else ()):
        if isinstance(item, dict) and not item.get("item_id") and not item.get("item_name"):
            yield Fault(("params", "items", index, "item_id"), Kind.REQUIRED, "item_id or item_name is required")


def event_notes(event: Any, app: bool) -> Iterator[Fault]:
    """What Analytics cuts, or leaves out of reports, without dropping the event."""
    params = event.get("params", {})
    if len(params) > MAX_PARAMS:
        words = f"holds more than {MAX_PARAMS} parameters: the rest is left out"
        yield Fault(("params",), Kind.INVALID, words, "EXCEEDED_MAX_ENTITIES")
    if params.get("value") is not None and not params.get("currency"):
        yield Fault(("params", "currency"), Kind.REQUIRED, "is required with value: no revenue is counted")
    for name, value in params.items():
        limit = LONG_VALUES.get(name, MAX_VALUE)
        if isinstance(value, str) and len(value) > limit:
            yield Fault(("params", name), Kind.INVALID, f"is cut after {limit} characters", "VALUE_OUT_OF_BOUNDS")
    for name in () if app else ("session_id", "engagement_time_msec"):
        if name not in params:
            yield Fault(("params", name), Kind.REQUIRED, "is missing: the user is not counted as active")
    for name in WANTED.get(event["name"], ()):
        if params.get(name) in (None, [], ""):
            yield Fault(("params", name), Kind.REQUIRED, f"is recommended for {event['name']}")


class Ga4:
    """The emulator. Measurement Protocol has no de-duplication by event id, so nothing is ever a duplicate."""

    name = "ga4"

    def answer(self, call: Call) -> Answer:
        """See the module's text."""
        if call.path == ga4_web.COLLECT and call.method in ("GET", "POST"):
            return ga4_web.collect(call)
        if call.method != "POST" or call.path not in (COLLECT, DEBUG):
            return Answer(404, b"<html><title>Error 404 (Not Found)</title></html>", "text/html")
        body = parse(call.body)
        app = "firebase_app_id" in call.query
        whole = list(envelope_faults(body, app, len(call.body), call.now))
        events = body.get("events") if isinstance(body, dict) else None
        events = events if isinstance(events, list) else []
        if call.path == DEBUG:
            return self._validate(body, whole, events, app, call.now)
        reason = _stream_fault(call) or (_sentence(whole[0]) if whole else "")
        noted = tuple(_judge(i, event, reason, app, call.now) for i, event in enumerate(events))
        if not events:
            noted = (Noted("", "", False, reason or "no events", body),)
        return Answer(204, noted=noted)

    def _validate(self, body: Any, whole: list[Fault], events: list[Any], app: bool, now: float) -> Answer:
        faults = list(whole)
        for index, event in enumerate(events):
            found = list(event_faults(event, now))
            faults += [fault.under("events", index) for fault in found]
            if not found:
                faults += [fault.under("events", index) for fault in event_notes(event, app)]
        if isinstance(body, dict) and "device" in body and not text_of(body["device"], "model"):
            faults.append(Fault(("device", "model"), Kind.REQUIRED, "is required with device"))
        strict = isinstance(body, dict) and body.get("validation_behavior") == "ENFORCE_RECOMMENDATIONS"
        told = faults if strict else [fault for fault in faults if fault.code == UNREADABLE]
        return json_answer({"validationMessages": [_message(fault) for fault in told]})

    def outage(self, mode: Mode) -> Answer:
        """Errors are plain HTTP; a dead api_secret is answered 204 like everything else."""
        if mode == "401":
            return Answer(204, noted=(Noted("", "", False, "api_secret is not valid", None),))
        if mode == "429":
            return Answer(429, headers={"Retry-After": RETRY_AFTER})
        return Answer(500, b"<html><title>Error 500 (Server Error)</title></html>", "text/html")


def _judge(index: int, event: Any, reason: str, app: bool, now: float) -> Noted:
    fault = next((one.under("events", index) for one in event_faults(event, now)), None)
    why = reason or (_sentence(fault) if fault else "")
    notes = () if why else tuple(_sentence(note) for note in event_notes(event, app))
    params = event.get("params") if isinstance(event, dict) else None
    return Noted(text_of(event, "name"), text_of(params, "transaction_id"), not why, why, event, notes=notes)


def _stream_fault(call: Call) -> str:
    """The address of the stream: wrong ones are dropped without a word."""
    secret = call.query.get("api_secret", "")
    stream = call.query.get("measurement_id", "") or call.query.get("firebase_app_id", "")
    if not secret or secret in WRONG:
        return "api_secret is not valid"
    if not stream or stream in WRONG:
        return "measurement_id (or firebase_app_id) names no stream"
    return ""


def _place(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _sentence(fault: Fault) -> str:
    return f"{_place(fault.path)} {fault.message}".strip()


def _message(fault: Fault) -> dict[str, str]:
    codes = {Kind.REQUIRED: "VALUE_REQUIRED", Kind.UNKNOWN: "NAME_INVALID", Kind.INVALID: "VALUE_INVALID"}
    code = codes[fault.kind] if fault.code in ("", UNREADABLE) else str(fault.code)
    return {"fieldPath": _place(fault.path), "description": _sentence(fault), "validationCode": code}
