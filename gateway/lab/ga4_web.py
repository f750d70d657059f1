"""GA4's endpoint for web hits, `GET|POST /g/collect`: 204 to anything, as the real one; what would be dropped is noted.

The protocol is not documented: the rules here are what hits of gtag.js have in common, and the names and forms that
Analytics documents for events. A hit needs version 2, a measurement id, a client id, a session and an event name; its
items, numbers, consent letters and addresses must have their form. A wrong stream is `G-EXPIRED` or `G-UNKNOWN`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from gateway.lab.vendor import Answer, Call, Noted

COLLECT = "/g/collect"
WRONG = ("G-EXPIRED", "G-UNKNOWN")
MAX_ITEMS, MAX_BODY = 200, 130_000
FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "tid": (re.compile(r"G-[A-Z0-9]{4,20}"), "is no measurement id"),
    "cid": (re.compile(r"[!-~]{1,200}"), "is no client id"),
    "sid": (re.compile(r"\d{1,20}"), "must be digits"),
    "sct": (re.compile(r"\d{1,9}"), "must be a count"),
    "_et": (re.compile(r"\d{1,10}"), "must be milliseconds"),
    "sr": (re.compile(r"\d{1,5}x\d{1,5}"), "must be width x height"),
    "gcs": (re.compile(r"G1[01-][01-]"), "has not the form of Consent Mode"),
    "gcd": (re.compile(r"1\d[a-zA-Z]\d[a-zA-Z]\d[a-zA-Z]\d[a-zA-Z]\w*", re.ASCII), "has not the form of Consent Mode"),
    "cu": (re.compile(r"[A-Z]{3}"), "must be an ISO 4217 code in upper case"),
    "em": (re.compile(r"tv\.1(~[a-z]{2}\d?\.[^~]*)*"), "has not the form of user data"),
}
NEEDED = ("tid", "cid", "sid", "en")
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_NAME = re.compile(r"(ep|epn|up|upn)\.(.+)", re.DOTALL)
_ITEM = re.compile(r"pr(\d{1,3})", re.ASCII)


def collect(call: Call) -> Answer:
    """What the endpoint says to a hit, and what it would make of each event."""
    shared = {**call.query}
    lines = [line for line in call.body.decode("utf-8", "replace").splitlines() if line.strip()]
    events = [dict(parse_qsl(line, keep_blank_values=True)) for line in lines]
    hits = [{**shared, **own} for own in events if "en" in own] or [shared]
    whole = "the body is larger than 130 kB" if len(call.body) > MAX_BODY else ""
    return Answer(204, noted=tuple(_noted(hit, whole, call.headers.get("user-agent", "")) for hit in hits))


def _noted(hit: Mapping[str, str], whole: str, agent: str) -> Noted:
    reason = whole or next(faults(hit), "")
    notes = () if reason else tuple(_notes(hit, agent))
    order = hit.get("ep.transaction_id", "")
    return Noted(hit.get("en", ""), order, not reason, reason, dict(hit), notes=notes)


def faults(hit: Mapping[str, str]) -> Iterator[str]:
    """What makes Analytics drop a hit or a part of it, one sentence each."""
    if hit.get("v") != "2":
        yield "v must be 2"
    yield from (f"{name} is missing" for name in NEEDED if not hit.get(name))
    if hit.get("tid") in WRONG:
        yield "tid names no stream"
    yield from (f"{name} {words}" for name, (form, words) in FORMS.items() if name in hit and not form.fullmatch(hit[name]))
    if not _EVENT.fullmatch(hit.get("en", "")):
        yield "en must be 1 to 40 letters, digits and underscores, a letter first"
    if "_uip" in hit and not _is_address(hit["_uip"]):
        yield "_uip is no address"
    for name, value in hit.items():
        if (typed := _NAME.fullmatch(name)) and typed[1] in ("epn", "upn") and not _is_number(value):
            yield f"{name} must be a number"
        if _ITEM.fullmatch(name) and not re.search(r"(^|~)(id|nm)[^~]", value):
            yield f"{name} has neither id nor name"
    if sum(1 for name in hit if _ITEM.fullmatch(name)) > MAX_ITEMS:
        yield f"holds more than {MAX_ITEMS} items"
    if {"api_secret", "measurement_id"} & hit.keys():
        yield "a secret of the Measurement Protocol stands in a web hit"


def _notes(hit: Mapping[str, str], agent: str) -> Iterator[str]:
    """What it would take, but differently."""
    if not hit.get("dl"):
        yield "dl is missing: the hit has no page"
    if "epn.value" in hit and not hit.get("cu") and not hit.get("ep.currency"):
        yield "cu is required with value: no revenue is counted"
    if hit.get("gcs", "")[3:4] == "0":
        yield "analytics_storage is denied: the hit is modelled only"
    if not agent or agent.startswith("Tagway/"):
        yield "the User-Agent is not the visitor's: the device is unknown"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
