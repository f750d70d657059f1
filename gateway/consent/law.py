"""Which law's default holds for an event: opt_in, opt_out, none or unknown, by the best word there is of the visitor's country.

In order: what the source says, the trusted country of the address, what the cookie of a consent tool knew, what a GA4 hit says.
`gdpr=0` on the hit makes it none, unless one of these says that the law asks first: else a mistake in a page's tag would
switch consent off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config.models import SourceConsent
from gateway.consent.google import whereabouts
from gateway.consent.regions import jurisdiction
from gateway.consent.tools import located
from gateway.receive.hit import Hit
from gateway.receive.sources import query_value

GOOGLE_DIALECTS = ("ga4",)
"""Dialects that keep Consent Mode's parameters in `raw` under Google's names."""
IN_RAW = ("pixel", "ga4")
"""Dialects that keep the IAB's parameters in `raw`."""


def law(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> str:
    """The jurisdiction of an event."""
    if rules.jurisdiction != "auto":
        return rules.jurisdiction
    found = _by_place(data, hit)
    return "none" if found != "opt_in" and stated(data, hit, "gdpr") == "0" else found


def gdpr_waived(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> bool:
    """Whether the hit says that TCF does not apply to it, and may say so."""
    return stated(data, hit, "gdpr") == "0" and law(data, hit, rules) != "opt_in"


def _by_place(data: Mapping[str, Any], hit: Hit) -> str:
    geo = data.get("geo")
    if geo and "country" in geo:
        return jurisdiction(geo["country"], geo.get("region"))
    country, region = located(hit.headers.get("cookie", ""))
    if country is None and data.get("dialect") in GOOGLE_DIALECTS:
        raw = data.get("raw", {})
        # Google marks hits out of the region of its Digital Markets Act, which asks first
        if raw.get("dma") == "1":
            return "opt_in"
        country, region = whereabouts(raw)
    return jurisdiction(country, region)


def stated(data: Mapping[str, Any], hit: Hit, name: str) -> str | None:
    """A consent parameter of the hit: in `raw` where its dialect keeps it, else in the query of a GET, which is one event."""
    if data.get("dialect") in IN_RAW:
        raw = data.get("raw")
        value = raw.get(name) if raw else None
    elif hit.query and hit.method == "GET":
        value = query_value(hit.query, name)
    else:
        return None
    return value if isinstance(value, str) else None
