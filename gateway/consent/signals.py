"""Reading consent signals off an event and its request: one small reader per kind, in a table.

A reader is pure and never raises: what it cannot read is no signal. It says what the signal allows per purpose and whether
the visitor chose it; how signals rank is `gateway.consent.decide`'s alone. Readers of the IAB's strings are in
gateway/consent/iab.py, those of consent tools' cookies in gateway/consent/tools.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.clock import iso
from gateway.config.models import SourceConsent
from gateway.consent import google, iab
from gateway.consent.gpp import us_privacy as opted_out
from gateway.consent.law import GOOGLE_DIALECTS, stated
from gateway.consent.signal import CARRIED, Reader, Signal
from gateway.consent.tools import CATEGORIES, MARKS, left_over, tool_cookie
from gateway.event import PURPOSES
from gateway.receive.cookies import cookies, decoded
from gateway.receive.hit import Hit

__all__ = ["CARRIED", "CATEGORIES", "COOKIE_MARKS", "GOOGLE_DIALECTS", "OWN_COOKIE", "READERS", "Signal", "read"]

OWN_COOKIE = "_tw_consent"
US_COOKIE = "usprivacy"
COOKIE_MARKS = (*MARKS, US_COOKIE)
"""Some part of every cookie that any reader here reads: where a Cookie header holds none of them, no cookie speaks."""
_OWN = re.compile(r"v1\.([gdu]{4})\.(\d{9,11})\.([ed])", re.ASCII)
_OWN_PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage")
_LETTERS = {"g": "granted", "d": "denied", "u": "unknown"}


def event_block(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The event's own consent block: purposes, then what its categories mean by the source's table (denied wins)."""
    block = data.get("consent")
    if not block:
        return None
    choices = {purpose: block[purpose] for purpose in PURPOSES if block.get(purpose, "unknown") != "unknown"}
    for category, allowed in block.get("categories", {}).items():
        for purpose in rules.categories.get(category, CATEGORIES.get(category, ())):
            if not allowed:
                choices[purpose] = "denied"
            else:
                choices.setdefault(purpose, "granted")
    return Signal("event", "event", choices, block.get("explicit", True), block.get("sale_opt_out"))


def own_cookie(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """`_tw_consent`: `v1.<g|d|u for the four purposes>.<epoch seconds>.<e|d>`; the last letter is e for a visitor's choice."""
    header = hit.headers.get("cookie", "")
    if OWN_COOKIE not in header:
        return None
    for name, value in cookies(header):
        if name == OWN_COOKIE and (match := _OWN.fullmatch(decoded(value))):
            said = zip(_OWN_PURPOSES, (_LETTERS[letter] for letter in match[1]), strict=True)
            choices = {purpose: choice for purpose, choice in said if choice != "unknown"}
            return Signal(OWN_COOKIE, "own", choices, match[3] == "e", cookie=True, at=iso(float(match[2])))
    return None


def gpc(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """`Sec-GPC: 1`, exactly: an opt-out of sale and sharing, in every country."""
    return Signal("GPC", "restriction", {}, opt_out=True) if hit.headers.get("sec-gpc") == "1" else None


def us_privacy(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The `us_privacy` parameter of the hit, else the `usprivacy` cookie: an opt-out by its third character, Y."""
    given = stated(data, hit, "us_privacy")
    texts = [given] if given else []
    header = hit.headers.get("cookie", "")
    if US_COOKIE in header:
        texts += [_inner(decoded(value)) for name, value in cookies(header) if name == US_COOKIE]
    for text in texts:
        out = opted_out(text)
        if out is not None:
            return Signal("us_privacy", "restriction", {}, text[1] in "Yy", out)
    return None


def _inner(value: str) -> str:
    """The string in the cookie; Iubenda keeps it inside JSON."""
    if not value.startswith("{"):
        return value
    try:
        held = orjson.loads(value).get("uspString")
    except orjson.JSONDecodeError:
        return ""
    return held if isinstance(held, str) else ""


def google_choice(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """Consent Mode, as far as a visitor chose."""
    return _google(data, explicit=True)


def google_default(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """Consent Mode, as far as the page set it ahead; `gcs` alone does not say who chose."""
    return _google(data, explicit=False)


def _google(data: Mapping[str, Any], *, explicit: bool) -> Signal | None:
    if data.get("dialect") not in GOOGLE_DIALECTS:
        return None
    states = {key: state for key, state in google.said(data.get("raw", {})).items() if state.explicit is explicit}
    names = dict.fromkeys(state.name for state in states.values())
    return Signal(", ".join(names), "gcs", {key: state.choice for key, state in states.items()}, explicit) if names else None


READERS: tuple[Reader, ...] = (
    event_block,
    iab.tc_on_hit,
    iab.gpp_europe,
    google_choice,
    iab.tc_cookie,
    tool_cookie,
    own_cookie,
    google_default,
    gpc,
    us_privacy,
    iab.gpp_states,
)
"""Every reader that is asked, in the order in which their names appear in a decision."""


def read(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> list[Signal]:
    """All signals that spoke, without the cookie of a tool that the site has no more."""
    found = [signal for reader in READERS if (signal := reader(data, hit, rules)) is not None]
    if len(found) > 1:
        strings = [signal for signal in found if signal.tcf and signal.cookie]
        if strings and rules.cmp == "auto":
            found = [one for one in found if one.kind != "cmp_cookie" or not left_over(one, strings[0])]
    return found
