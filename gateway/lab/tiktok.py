"""TikTok Events API 2.0: `POST /open_api/v1.3/event/track/`.

The answer is 200 whatever happens; `code` says what. One invalid event fails the whole request with 40002 and names it
(`Batch.0.user.email: …`). Tokens: any works but `expired` (40102), `revoked` (40105), `forbidden` (40001), `throttled`
(40100).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.lab.checks import (
    Fault,
    Kind,
    address,
    anything,
    boolean,
    clear,
    count,
    currency,
    hashed,
    is_integer,
    is_text,
    listing,
    number,
    one_of,
    one_or_many,
    rule,
    shape,
    text,
    url,
)
from gateway.lab.vendor import Answer, Call, Mode, Noted, Seen, json_answer, parse, text_of

ROUTE = "/open_api/v1.3/event/track/"
MAX_EVENTS = 1000
MAX_BYTES = 1_000_000
MAX_AGE = 7 * 86400
MAX_AHEAD = 60
SOURCES = ("web", "app", "offline", "crm")
TOKENS = {
    "": (40101, "Access token is missing."),
    "expired": (40102, "Access token has expired."),
    "revoked": (40105, "Access token is incorrect or has been revoked."),
    "forbidden": (40001, "No permission to operate this pixel."),
    "throttled": (40100, "Too many requests. Please retry later."),
}
WORDS = {Kind.REQUIRED: "Missing data for required field.", Kind.UNKNOWN: "Unknown field."}

_place = rule(
    lambda v: isinstance(v, str) and v == v.lower() and all(c.isalnum() for c in v) and not re.fullmatch("[0-9a-f]{64}", v),
    "Must be lower-case letters and digits, not hashed.",
)
_string = rule(is_text, "Not a valid string.")
_device = one_or_many(rule(is_text, "Not a valid string."))
USER = shape(
    {
        **{name: one_or_many(hashed) for name in ("email", "phone", "external_id", "first_name", "last_name", "zip_code")},
        **dict.fromkeys(("city", "state", "country"), _place),
        **dict.fromkeys(("ttclid", "ttp", "user_agent", "locale", "idfv"), clear),
        "idfa": _device,
        "gaid": _device,
        "ip": address,
        "att_status": one_of("AUTHORIZED", "DENIED", "NOT_DETERMINED", "RESTRICTED", "NOT_APPLICABLE"),
    }
)
CONTENT = shape(
    {
        "content_id": _string,
        "content_name": _string,
        "content_category": _string,
        "brand": _string,
        "description": _string,
        "price": number,
        "quantity": count,
    },
    extra=anything,
)
PROPERTIES = shape(
    {
        "contents": listing(CONTENT),
        "content_type": one_of("product", "product_group"),
        "content_ids": listing(_string),
        "num_items": count,
        "currency": currency,
        "value": number,
        "query": _string,
        "search_string": _string,
        "description": _string,
        "order_id": _string,
        "shop_id": _string,
        "predicted_ltv": number,
    },
    extra=anything,
)
EVENT = shape(
    {
        "event": text,
        "event_time": rule(is_integer, "Not a valid integer."),
        "event_id": _string,
        "user": USER,
        "properties": PROPERTIES,
        "page": shape({"url": url, "referrer": url}),
        "limited_data_use": boolean,
        "app": shape({"app_id": _string, "app_name": _string, "app_version": _string}),
        "ad": anything,
        "lead": shape({"lead_id": _string, "lead_event_source": _string}),
    },
    required=["event", "event_time"],
)
ENVELOPE = shape(
    {
        "event_source": one_of(*SOURCES),
        "event_source_id": _string,
        "partner_name": _string,
        "test_event_code": _string,
        "data": listing(anything, at_least=1, at_most=MAX_EVENTS),
    },
    required=["event_source", "event_source_id", "data"],
)


def event_faults(event: Any, source: str, now: float) -> Iterator[Fault]:
    """What the platform finds wrong with one event."""
    yield from EVENT(event, ())
    if not isinstance(event, dict):
        return
    if not isinstance(event.get("user"), dict):
        yield Fault(("user",), Kind.REQUIRED, "is required")
    yield from _time_faults(event, source, now)
    if source == "app" and not event.get("app"):
        yield Fault(("app",), Kind.REQUIRED, "is required for an app")
    if source == "crm" and not event.get("lead"):
        yield Fault(("lead",), Kind.REQUIRED, "is required for a CRM")
    yield from _money_faults(event)


def _time_faults(event: dict[str, Any], source: str, now: float) -> Iterator[Fault]:
    at = event.get("event_time")
    if not is_integer(at):
        return
    if at > 10**11:
        yield Fault(("event_time",), Kind.INVALID, "Must be in seconds, not milliseconds.")
    elif at > now + MAX_AHEAD:
        yield Fault(("event_time",), Kind.INVALID, "Must not be in the future.")
    elif source in ("web", "app") and at < now - MAX_AGE:
        yield Fault(("event_time",), Kind.INVALID, "Must be within the last 7 days.")


def _money_faults(event: dict[str, Any]) -> Iterator[Fault]:
    properties = event.get("properties")
    if isinstance(properties, dict) and properties.get("value") is not None and not properties.get("currency"):
        yield Fault(("properties", "currency"), Kind.REQUIRED, "goes together with value")


def event_notes(event: dict[str, Any], source: str) -> Iterator[str]:
    """What the platform takes and makes less of."""
    if source == "web" and not event.get("page", {}).get("url"):
        yield "page.url is missing: it is documented as required for the web"
    if event.get("properties", {}).get("currency") and event["properties"].get("value") is None:
        yield "properties.value is missing: a currency alone says nothing"
    if not event["user"]:
        yield "user is empty: the event matches nobody"


class TikTok:
    """The emulator."""

    name = "tiktok"

    def __init__(self) -> None:
        self._seen = Seen()
        self._requests = 0

    def answer(self, call: Call) -> Answer:
        """See the module's text."""
        if call.path != ROUTE or call.method != "POST":
            return Answer(404, b"<html><body>404 page not found</body></html>", "text/html")
        token = call.headers.get("access-token", "")
        if token in TOKENS:
            return self._say(*TOKENS[token])
        body = parse(call.body)
        if body is None or "json" not in call.headers.get("content-type", ""):
            return self._say(40002, "The request body is not a valid JSON object.")
        if len(call.body) > MAX_BYTES:
            return self._say(40002, "The request body is too large.")
        for fault in ENVELOPE(body, ()):
            return self._say(40002, _words(fault))
        return self._judge(body, call.now)

    def _judge(self, body: dict[str, Any], now: float) -> Answer:
        source, pixel, events = body["event_source"], body["event_source_id"], body["data"]
        faults = [next(iter(event_faults(event, source, now)), None) for event in events]
        first = next((fault.under("Batch", i) for i, fault in enumerate(faults) if fault), None)
        if first is None:
            return self._say(0, "OK", tuple(self._taken(pixel, source, event, now) for event in events))
        sibling = f"not processed: {_words(first)} in the same request"
        noted = tuple(
            Noted(
                text_of(event, "event"),
                text_of(event, "event_id"),
                False,
                _words(fault.under("Batch", i)) if fault else sibling,
                event,
            )
            for i, (event, fault) in enumerate(zip(events, faults, strict=True))
        )
        return self._say(40002, _words(first), noted)

    def _taken(self, pixel: str, source: str, event: dict[str, Any], now: float) -> Noted:
        name, event_id = text_of(event, "event"), text_of(event, "event_id")
        again = bool(event_id) and self._seen.again((pixel, name, event_id), now)
        return Noted(name, event_id, True, "", event, duplicate=again, notes=tuple(event_notes(event, source)))

    def outage(self, mode: Mode) -> Answer:
        """HTTP 200 with a code, but for its proxies' own 502."""
        if mode == "401":
            return self._say(*TOKENS["revoked"])
        if mode == "429":
            return self._say(*TOKENS["throttled"])
        return Answer(502, b"<html><body>502 Bad Gateway</body></html>", "text/html")

    def _say(self, code: int, message: str, noted: tuple[Noted, ...] = ()) -> Answer:
        self._requests += 1
        return json_answer({"code": code, "message": message, "request_id": f"lab-{self._requests}", "data": {}}, noted=noted)


def _words(fault: Fault) -> str:
    """`Batch.0.properties.contents.0.content_id: Not a valid string.`"""
    message = WORDS.get(fault.kind, fault.message)
    return f"{'.'.join(map(str, fault.path))}: {message}"
