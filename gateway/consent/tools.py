"""Cookies of consent tools on a first-party request: which there are, what each says, and which one counts. Pure.

`TOOLS` is the table: the cookie's name, how it is read (gateway/consent/formats.py), and what its categories mean by default;
a source's `consent.categories` adds to these and replaces them one by one, as many sites name categories, services and
vendors as they like. Values are percent-decoded once; what cannot be read is no signal.

**Which one counts.** Sites change their tool and the old cookies stay. Of several that say something the newest by its own
timestamp counts, one without a timestamp after those with, else the first of the table. Where there is a TC string cookie
beside it, a tool's cookie that is more than a day older is left out for the same reason.

**Which are not here.** Usercentrics keeps its choices out of cookies and Osano's cookie cannot be read by a server: for both
the page has to say them (`consent` of the event). Osano's is named as `unreadable` in the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from gateway.clock import iso, parse_instant
from gateway.config.models import SourceConsent
from gateway.consent import formats
from gateway.consent.formats import Jar, Told
from gateway.consent.signal import AD_PURPOSES, Signal
from gateway.receive.cookies import cookies, decoded
from gateway.receive.hit import Hit

ANALYTICS = ("analytics_storage",)
FUNCTIONAL = ("functional",)
UNREADABLE = "osano_consentmanager"
"""A cookie that says something, but not to a server."""
DAY = 86400.0
EARLIEST = 1262304000.0
"""2010: there were no such cookies before."""


class Tool(NamedTuple):
    """A consent tool. `cookie` is the name (or, with `prefix`, the start of the names) of the cookie that gives it away."""

    name: str
    cookie: str
    read: Callable[[str, Jar], Told | None]
    categories: Mapping[str, tuple[str, ...]]
    prefix: bool = False


CATEGORIES: dict[str, tuple[str, ...]] = {
    "C0001": (),  # strictly necessary
    "C0002": ANALYTICS,
    "C0003": FUNCTIONAL,
    "C0004": AD_PURPOSES,
    "C0005": AD_PURPOSES,  # social media
}
"""OneTrust's default categories."""
_LEVELS = {"0": (), "1": (*ANALYTICS, *FUNCTIONAL), "2": AD_PURPOSES}
_MARKETING = dict.fromkeys(("marketing", "advertising", "advertisement", "ads", "targeting"), AD_PURPOSES)
_NAMED = {"analytics": ANALYTICS, "statistics": ANALYTICS, "functional": FUNCTIONAL, "preferences": FUNCTIONAL, **_MARKETING}

TOOLS: tuple[Tool, ...] = (
    Tool("onetrust", "OptanonConsent", formats.onetrust, CATEGORIES),
    Tool("cookiebot", "CookieConsent", formats.cookiebot, _NAMED),
    Tool("didomi", "didomi_token", formats.didomi, {}),
    Tool("trustarc", "notice_preferences", formats.trustarc, _LEVELS),
    Tool("trustarc", "notice_gdpr_prefs", formats.trustarc, _LEVELS),
    Tool("trustarc", "cmapi_cookie_privacy", formats.trustarc, _LEVELS),
    Tool("cookieyes", "cookieyes-consent", formats.cookieyes, _NAMED),
    Tool("complianz", "cmplz_", formats.complianz, _NAMED, prefix=True),
    Tool("axeptio", "axeptio_cookies", formats.axeptio, {}),
    Tool("iubenda", "_iub_cs-", formats.iubenda, {"2": FUNCTIONAL, "4": ANALYTICS, "5": AD_PURPOSES}, prefix=True),
    Tool("klaro", "klaro", formats.services, {}),
    Tool("borlabs", "borlabs-cookie", formats.borlabs, _NAMED),
    Tool("cookie_law_info", "cookielawinfo-checkbox-", formats.cookie_law_info, _NAMED, prefix=True),
    Tool("orestbida", "cc_cookie", formats.orestbida, _NAMED),
    Tool("cookiefirst", "cookiefirst-consent", formats.flags, {**_NAMED, "performance": ANALYTICS}),
    Tool("shopify", "_tracking_consent", formats.shopify, {"a": ANALYTICS, "m": AD_PURPOSES, "p": FUNCTIONAL}),
)
_COOKIES = frozenset(tool.cookie for tool in TOOLS if not tool.prefix)
_STARTS = tuple(tool.cookie for tool in TOOLS if tool.prefix)
MARKS = ("onsent", "didomi", "notice_", "cmapi_", "cmplz_", "axeptio", "_iub_", "klaro", "borlabs", "cookielaw", "cc_cookie")
"""Some part of every cookie of the table: a header with none of these needs no reading."""


def tool_cookie(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> Signal | None:
    """What the consent tool's cookie says: the newest of several tools'."""
    header = hit.headers.get("cookie")
    if not header or not any(mark in header for mark in MARKS):
        return None
    jar = _jar(header)
    found = list(_told(jar, rules.cmp))
    if not found:
        unread = UNREADABLE in jar and rules.cmp in ("auto", "osano")
        return Signal(UNREADABLE, "cmp_cookie", {}, explicit=False, cookie=True) if unread else None
    tool, told = max(found, key=lambda one: _made(one[1], hit.received))
    choices = _choices(told, {**tool.categories, **rules.categories})
    at = iso(made) if (made := _made(told, hit.received)) else None
    return Signal(tool.cookie.rstrip("_-"), "cmp_cookie", choices, told.explicit, told.opt_out, cookie=True, at=at)


def _made(told: Told, received: float) -> float:
    """When a cookie was made, by its own word; 0 where it does not say, or says what cannot be."""
    return told.at if told.at is not None and EARLIEST < told.at < received + DAY else 0.0


def left_over(tool: Signal, tc: Signal) -> bool:
    """Whether a tool's cookie is an old tool's, by the TC string cookie beside it."""
    return bool(tool.at and tc.at) and parse_instant(str(tool.at)) < parse_instant(str(tc.at)) - DAY


def _jar(header: str) -> dict[str, str]:
    """The cookies by name, percent-decoded, of duplicates the first."""
    jar: dict[str, str] = {}
    for name, value in cookies(header):
        if value:
            jar.setdefault(name, decoded(value))
    return jar


def _told(jar: Jar, chosen: str) -> list[tuple[Tool, Told]]:
    """What each tool says that has a cookie here, in the order of the table."""
    present = set(_COOKIES.intersection(jar))
    present.update(start for start in _STARTS for name in jar if name.startswith(start))
    tools = [tool for tool in TOOLS if tool.cookie in present and chosen in ("auto", tool.name)]
    return [(tool, told) for tool in tools if (told := _read(tool, jar))]


def _read(tool: Tool, jar: Jar) -> Told | None:
    try:
        return tool.read(jar.get(tool.cookie, ""), jar)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None  # whatever a planted cookie holds, it is no signal


def _choices(told: Told, meaning: Mapping[str, Any]) -> dict[str, str]:
    """Purposes out of categories; where two of one purpose disagree it is denied."""
    choices = dict(told.choices)
    for category, allowed in told.categories.items():
        for purpose in meaning.get(category, ()):
            if not allowed:
                choices[purpose] = "denied"
            else:
                choices.setdefault(purpose, "granted")
    return choices


def located(header: str) -> tuple[str | None, str | None]:
    """(country, region) that OneTrust's cookie knows: `geolocation=IN;MH`; None for what it does not."""
    if "geolocation" not in header:
        return None, None
    for name, value in cookies(header):
        if name == "OptanonConsent":
            place = parse_qs(value).get("geolocation", [""])[0].upper()
            country, _, region = place.partition(";")
            if len(country) == 2 and country.isalpha() and country.isascii():
                return country, region or None
    return None, None
