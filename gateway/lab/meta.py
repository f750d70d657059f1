"""Meta Conversions API: `POST /v<n>.0/<pixel>/events`; and `GET /v<n>.0/<pixel>`, which only looks at the token.

Strict as the platform documents it: one bad event fails the whole request, with a Graph error object (code, subcode) whose
HTTP status says little. Tokens: any works but `expired` (190, answered with status 500 as Graph does at times),
`forbidden` (100/33), `throttled` (4). Which subcode stands for which fault is documented for a few only; the others here
are of the same family (28040xx).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gateway.lab.checks import (
    ANY_HEX64,
    Fault,
    Kind,
    Path,
    address,
    anything,
    boolean,
    clear,
    count,
    hashed,
    integer,
    is_email,
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
from gateway.lab.vendor import RETRY_AFTER, Answer, Call, Mode, Noted, Seen, json_answer, parse, text_of

ROUTE = re.compile(r"/v\d{1,2}\.0/([^/]+)/events")
DATASET = re.compile(r"/v\d{1,2}\.0/([^/]+)")
MAX_EVENTS = 1000
MAX_AGE = 7 * 86400
MAX_AGE_STORE = 62 * 86400
MAX_AHEAD = 60
TIME_WRONG, TOO_OLD, NO_VALUE, WEAK_IDENTITY = 2804001, 2804003, 2804009, 2804050
TITLES = {
    TIME_WRONG: "Event Timestamp Invalid",
    TOO_OLD: "Event Timestamp Too Old",
    NO_VALUE: "Missing Value For Purchase Event",
    WEAK_IDENTITY: "This Event Has Not Enough Customer Information",
}
ACTION_SOURCES = (
    "website",
    "app",
    "email",
    "phone_call",
    "chat",
    "physical_store",
    "system_generated",
    "business_messaging",
    "other",
)
_HASHED = "em ph fn ln ct st zp country db ge f5first f5last fi dobd dobm doby".split()
_CLEAR = """subscription_id fb_login_id anon_id madid ctwa_clid page_id page_scoped_user_id ig_account_id ig_sid partner_id
partner_name""".split()
_STRONG = (
    "em ph external_id fbc fbp madid lead_id subscription_id fb_login_id anon_id ctwa_clid page_scoped_user_id ig_sid".split()
)


FBC, FBP = (re.compile(rf"fb\.\d\.\d{{13}}\.{last}(\.[\w-]{{2}}|\.[\w-]{{8}})?") for last in (r"[^.\s]+", r"\d{1,10}"))


USER_DATA = shape(
    {
        **{name: one_or_many(hashed) for name in _HASHED},
        **dict.fromkeys(_CLEAR, clear),
        "external_id": one_or_many(
            rule(lambda v: is_text(v) and not is_email(v), "must be text, and no e-mail address in the clear")
        ),
        "client_ip_address": address,
        "client_user_agent": clear,
        "fbc": clear,
        "fbp": clear,
        "lead_id": rule(lambda v: is_text(v) or is_integer(v), "must be a lead id"),
    }
)
CONTENT = shape(
    {
        "id": rule(lambda v: is_text(v) or is_integer(v), "must be text"),
        "quantity": count,
        "item_price": number,
        "delivery_category": one_of("in_store", "curbside", "home_delivery"),
    },
    required=["id"],
    extra=anything,
)
CUSTOM_DATA = shape(
    {
        "value": number,
        "net_revenue": number,
        "predicted_ltv": number,
        "currency": rule(
            lambda v: isinstance(v, str) and re.fullmatch("[A-Za-z]{3}", v), "must be an ISO 4217 code such as EUR"
        ),
        "content_ids": listing(rule(lambda v: is_text(v) or is_integer(v), "must be text")),
        "contents": listing(CONTENT),
        "content_type": one_of("product", "product_group"),
        "content_name": text,
        "content_category": text,
        "order_id": text,
        "num_items": count,
        "search_string": text,
        "status": rule(lambda v: is_text(v) or isinstance(v, bool), "must be text"),
        "delivery_category": one_of("in_store", "curbside", "home_delivery"),
    },
    extra=anything,
)
APP_DATA = shape(
    {
        "advertiser_tracking_enabled": one_of(0, 1),
        "application_tracking_enabled": one_of(0, 1),
        "extinfo": rule(
            lambda v: isinstance(v, list) and len(v) == 16 and all(isinstance(i, str) for i in v) and v[0] in ("a2", "i2"),
            "must be 16 texts, the first of them a2 or i2",
        ),
    },
    required=["advertiser_tracking_enabled", "application_tracking_enabled", "extinfo"],
    extra=anything,
)
EVENT = shape(
    {
        "event_name": text,
        "event_time": rule(is_integer, "must be whole epoch seconds", TIME_WRONG),
        "action_source": one_of(*ACTION_SOURCES),
        "event_source_url": url,
        "event_id": text,
        "referrer_url": url,
        "user_data": USER_DATA,
        "custom_data": CUSTOM_DATA,
        "app_data": APP_DATA,
        "opt_out": boolean,
        "data_processing_options": rule(lambda v: v in ([], ["LDU"]), 'must be [] or ["LDU"]'),
        "data_processing_options_country": one_of(0, 1),
        "data_processing_options_state": rule(lambda v: is_integer(v) and (v == 0 or v >= 1000), "must be 0 or 1000 and up"),
        "original_event_data": shape({"event_name": text, "event_time": integer, "order_id": text, "event_id": text}),
        "attribution_data": anything,
        "customer_segmentation": text,
        "messaging_channel": text,
        "advanced_measurement_table": text,
    },
    required=["event_name", "event_time", "action_source", "user_data"],
)
ENVELOPE = shape(
    dict.fromkeys("test_event_code partner_agent namespace_id upload_id upload_tag upload_source access_token".split(), text)
    | {"appsecret_proof": rule(lambda v: isinstance(v, str) and ANY_HEX64.fullmatch(v), "must be an HMAC-SHA256")}
    | {"data": listing(anything, at_least=1, at_most=MAX_EVENTS)},
    required=["data"],
)


def event_faults(event: Any, now: float) -> Iterator[Fault]:
    """What the platform finds wrong with one event."""
    yield from EVENT(event, ())
    if not isinstance(event, dict):
        return
    yield from _time_faults(event, now)
    yield from _source_faults(event)
    yield from _identity_faults(event)
    yield from _purchase_faults(event)
    if event.get("data_processing_options") == ["LDU"]:
        for name in ("data_processing_options_country", "data_processing_options_state"):
            if name not in event:
                yield Fault((name,), Kind.REQUIRED, "is required with LDU")


def _time_faults(event: dict[str, Any], now: float) -> Iterator[Fault]:
    at = event.get("event_time")
    if not is_integer(at):
        return
    limit = MAX_AGE_STORE if event.get("action_source") == "physical_store" else MAX_AGE
    path: Path = ("event_time",)
    if at > 10**11:
        yield Fault(path, Kind.INVALID, "is in milliseconds; it must be in seconds", TIME_WRONG)
    elif at > now + MAX_AHEAD:
        yield Fault(path, Kind.INVALID, "lies in the future", TIME_WRONG)
    elif at < now - limit:
        yield Fault(path, Kind.INVALID, f"is more than {limit // 86400} days old", TOO_OLD)


def _source_faults(event: dict[str, Any]) -> Iterator[Fault]:
    source = event.get("action_source")
    user = event.get("user_data")
    if source == "website" and not event.get("event_source_url"):
        yield Fault(("event_source_url",), Kind.REQUIRED, "is required for events of a website")
    if source == "website" and isinstance(user, dict) and not user.get("client_user_agent"):
        yield Fault(("user_data", "client_user_agent"), Kind.REQUIRED, "is required for events of a website")
    if source == "app" and not event.get("app_data"):
        yield Fault(("app_data",), Kind.REQUIRED, "is required for events of an app")


def _identity_faults(event: dict[str, Any]) -> Iterator[Fault]:
    user = event.get("user_data")
    if not isinstance(user, dict) or not user:
        return
    if not any(user.get(name) for name in _STRONG) and not (user.get("client_ip_address") and user.get("client_user_agent")):
        yield Fault(("user_data",), Kind.INVALID, "identifies nobody: its fields are too weak to match a person", WEAK_IDENTITY)


def _purchase_faults(event: dict[str, Any]) -> Iterator[Fault]:
    if event.get("event_name") != "Purchase":
        return
    custom = event.get("custom_data")
    custom = custom if isinstance(custom, dict) else {}
    for name, subcode in (("value", NO_VALUE), ("currency", "")):
        if custom.get(name) in (None, ""):
            yield Fault(("custom_data", name), Kind.REQUIRED, "is required for a Purchase", subcode)


def event_notes(event: dict[str, Any]) -> Iterator[str]:
    """What the platform takes and complains about in its diagnostics: a warning in `messages`."""
    user = event["user_data"]
    for name, form in (("fbc", FBC), ("fbp", FBP)):
        if name in user and not form.fullmatch(user[name]):
            yield f"user_data.{name} must look like fb.1.<milliseconds>.<value>: it matches nobody"


class Meta:
    """The emulator."""

    name = "meta"

    def __init__(self) -> None:
        self._seen = Seen()

    def answer(self, call: Call) -> Answer:
        """See the module's text."""
        if call.method == "GET" and (dataset := DATASET.fullmatch(call.path)):
            return _token_refusal(call, None, dataset[1]) or json_answer({"id": dataset[1]})
        match = ROUTE.fullmatch(call.path)
        if match is None or call.method != "POST":
            return _error(f"Unknown path components: {call.path}", 2500, status=404 if match is None else 400)
        body = parse(call.body)
        refusal = _token_refusal(call, body, match[1])
        if refusal:
            return refusal
        if body is None or "json" not in call.headers.get("content-type", ""):
            return _error("(#100) The body must be JSON with Content-Type: application/json", 100)
        for fault in ENVELOPE(body, ()):
            return _refused(fault)
        return self._judge(match[1], body["data"], call.now)

    def _judge(self, pixel: str, events: list[Any], now: float) -> Answer:
        faults = [next((fault.under("data", i) for fault in event_faults(event, now)), None) for i, event in enumerate(events)]
        first = next((fault for fault in faults if fault), None)
        if first is None:
            noted = tuple(self._taken(pixel, event, now) for event in events)
            messages = [note for one in noted for note in one.notes]
            return json_answer({"events_received": len(events), "messages": messages, "fbtrace_id": "A0"}, noted=noted)
        sibling = f"not processed: {_place(first.path)} of the same request {first.message}"
        return _refused(
            first,
            tuple(
                Noted(
                    text_of(event, "event_name"),
                    text_of(event, "event_id"),
                    False,
                    f"{_place(fault.path)} {fault.message}" if fault else sibling,
                    event,
                )
                for event, fault in zip(events, faults, strict=True)
            ),
        )

    def _taken(self, pixel: str, event: dict[str, Any], now: float) -> Noted:
        name, event_id = text_of(event, "event_name"), text_of(event, "event_id")
        again = bool(event_id) and self._seen.again((pixel, name, event_id), now)
        return Noted(name, event_id, True, "", event, duplicate=again, notes=tuple(event_notes(event)))

    def outage(self, mode: Mode) -> Answer:
        """Graph's words for it."""
        if mode == "401":
            return _expired()
        if mode == "429":
            return _throttled()
        return _error("An unexpected error has occurred. Please retry your request later.", 2, status=500, transient=True)


def _token_refusal(call: Call, body: Any, pixel: str) -> Answer | None:
    header = call.headers.get("authorization", "")
    token = header.removeprefix("Bearer ") if header.startswith("Bearer ") else call.query.get("access_token", "")
    token = token or text_of(body, "access_token")
    if not token:
        return _error("An access token is required to request this resource.", 104, status=401)
    if token == "expired":
        return _expired()
    if token == "throttled":
        return _throttled()
    if token == "forbidden":
        words = (
            f"Unsupported post request. Object with ID '{pixel}' does not exist, cannot be loaded due to missing permissions"
        )
        return _error(words, 100, subcode=33)
    return None


def _expired() -> Answer:
    words = "Error validating access token: the session has expired."
    return _error(words, 190, subcode=463, status=500)


def _throttled() -> Answer:
    return _error("(#4) Application request limit reached", 4, status=400, transient=True, headers={"Retry-After": RETRY_AFTER})


def _place(path: Path) -> str:
    """`data[0].user_data.em`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _refused(fault: Fault, noted: tuple[Noted, ...] = ()) -> Answer:
    message = f"(#100) Param {_place(fault.path)} {fault.message}"
    subcode = fault.code if isinstance(fault.code, int) else None
    return _error("Invalid parameter" if subcode else message, 100, subcode=subcode, detail=message, noted=noted)


def _error(
    message: str,
    code: int,
    *,
    subcode: int | None = None,
    status: int = 400,
    transient: bool = False,
    detail: str = "",
    headers: dict[str, str] | None = None,
    noted: tuple[Noted, ...] = (),
) -> Answer:
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code, "is_transient": transient}
    if subcode is not None:
        error |= {"error_subcode": subcode, "error_user_title": TITLES.get(subcode, ""), "error_user_msg": detail or message}
    return json_answer({"error": error | {"fbtrace_id": "A0"}}, status, noted=noted, headers=headers)
