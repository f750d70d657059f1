"""Readers of the IAB's signals: TC strings and GPP strings on hits and in cookies. Pure; what cannot be read is no signal.

    on hits     gdpr, gdpr_consent, gpp, gpp_sid of a pixel or GA4 hit, or in the query of any GET;
                `consent: {tcf: "C…", gpp: "D…", gpp_sid: "7"}` in a native event
    in cookies  euconsent-v2, eupubconsent-v2, `iab2` inside Cookiebot's CookieConsent; OTGPPConsent

A GPP string's section for Europe is a TC string and read as one. Its US sections only ever opt out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.clock import iso
from gateway.config.models import SourceConsent
from gateway.consent import gpp, tcf
from gateway.consent.law import gdpr_waived, stated
from gateway.consent.signal import Signal
from gateway.receive.cookies import cookies, decoded
from gateway.receive.hit import Hit

ON_HIT = "TC string"
TC_COOKIES = ("euconsent-v2", "eupubconsent-v2")
GPP_COOKIES = ("OTGPPConsent",)
_COOKIEBOT_TC = re.compile(r"iab2:'([A-Za-z0-9_.-]{1,4000})'")


def tc_on_hit(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The TC string that the hit states, unless it says that TCF does not apply and may say so."""
    text = _own(data, "tcf") or stated(data, hit, "gdpr_consent")
    if not text or gdpr_waived(data, hit, rules):
        return None
    tc = _valid(text, hit)
    return Signal(ON_HIT, "tcf", tcf.choices(tc), at=iso(tc.updated), tcf=text) if tc else None


def tc_cookie(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The TC string in the cookie of a consent tool: the newest of several."""
    header = hit.headers.get("cookie")
    if not header or ("consent-v2" not in header and "iab2" not in header):
        return None
    found = [(tc.updated, name, text, tc) for name, text in _kept(header) if (tc := _valid(text, hit))]
    if not found:
        return None
    _, name, text, tc = max(found, key=lambda one: one[0])
    return Signal(name, "tcf", tcf.choices(tc), cookie=True, at=iso(tc.updated), tcf=text)


def _kept(header: str) -> Iterator[tuple[str, str]]:
    """(cookie, TC string) pairs."""
    for name, value in cookies(header):
        if name in TC_COOKIES:
            yield name, decoded(value)
        elif name == "CookieConsent" and (match := _COOKIEBOT_TC.search(decoded(value))):
            yield name, match[1]


def gpp_europe(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The TC string inside a GPP string."""
    found = _sections(data, hit)
    text = found[0].get(gpp.TCF_EU) if found else None
    if not found or not text or gdpr_waived(data, hit, rules):
        return None
    tc = _valid(text, hit)
    if tc is None:
        return None
    return Signal("GPP tcfeuv2", "gpp", tcf.choices(tc), cookie=found[1], at=iso(tc.updated), tcf=text)


def gpp_states(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """The opt-outs of a GPP string's US sections."""
    found = _sections(data, hit)
    if not found:
        return None
    geo = data.get("geo", {})
    said = gpp.opt_out(found[0], geo.get("region") if geo.get("country") == "US" else None)
    return Signal(f"GPP {said.section}", "restriction", {}, opt_out=said.opt_out, cookie=found[1]) if said else None


def _sections(data: Mapping[str, Any], hit: Hit) -> tuple[Mapping[int, str], bool] | None:
    """The sections in force, and whether they were kept in a cookie."""
    text = _own(data, "gpp")
    sid = data["consent"].get("gpp", {}).get("sid") if text else None
    if not text and (text := stated(data, hit, "gpp")):
        sid = stated(data, hit, "gpp_sid")
    if text and (sections := gpp.decode(text)):
        return gpp.in_force(sections, sid), False
    header = hit.headers.get("cookie")
    if header and "GPPConsent" in header:
        for name, value in cookies(header):
            if name in GPP_COOKIES and (sections := gpp.decode(decoded(value))):
                return sections, True
    return None


def _own(data: Mapping[str, Any], key: str) -> str | None:
    """A string in the event's own consent block."""
    block = data.get("consent")
    held = block.get(key) if block else None
    text = held.get("string") if isinstance(held, dict) else None
    return text if isinstance(text, str) else None


def _valid(text: str, hit: Hit) -> tcf.Tc | None:
    tc = tcf.decode(text)
    return tc if tc is not None and tc.valid(hit.received) else None
