"""How consent tools write their cookies: one small reader a tool, from the cookie's value (decoded) and all cookies.

A reader gives what was allowed by the tool's own categories, whether the visitor chose it, and when; None where the cookie says
nothing. It may raise what Python raises for a value of another shape: the caller takes that as no signal.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson

from gateway.clock import parse_instant
from gateway.consent.tcf import choices_of

Jar = Mapping[str, str]
"""The cookies of a request by name, percent-decoded."""


class Told(NamedTuple):
    """What a cookie says: allowed or not by category, purposes said outright, and a word about sale (None: none)."""

    categories: Mapping[str, bool]
    explicit: bool
    at: float | None = None
    opt_out: bool | None = None
    choices: Mapping[str, str] = {}


_YES_NO = {"yes": True, "no": False, "allow": True, "deny": False, "true": True, "false": False, "1": True, "0": False}


def onetrust(value: str, jar: Jar) -> Told | None:
    """`groups=C0001:1,C0002:0&…`; a choice where OptanonAlertBoxClosed stands beside it, nothing where it asks again."""
    fields = parse_qs(value, keep_blank_values=True)
    gpc = True if fields.get("browserGpcFlag", [""])[0] == "1" else None
    groups = {}
    for pair in fields.get("groups", [""])[0].split(","):
        name, _, mark = pair.strip().rpartition(":")
        if name and mark in ("0", "1"):
            groups["V2STACK" if name.startswith("V2STACK") else name] = mark == "1"
    if fields.get("AwaitingReconsent", [""])[0] == "true":
        groups = {}
    if not groups and gpc is None:
        return None
    stack = groups.pop("V2STACK", None)
    closed = jar.get("OptanonAlertBoxClosed")
    choices = {} if stack is None else dict.fromkeys(AD, "granted" if stack else "denied")
    return Told(groups, closed is not None, _instant(closed), gpc, choices)


AD = ("ad_storage", "ad_user_data", "ad_personalization")
_COOKIEBOT = re.compile(r"(necessary|preferences|statistics|marketing):(true|false)")
_METHOD = re.compile(r"method:'(explicit|implied)'")
_UTC = re.compile(r"utc:(\d{12,14})", re.ASCII)


def cookiebot(value: str, jar: Jar) -> Told | None:
    """A JavaScript object: `{stamp:'…',statistics:true,marketing:false,method:'explicit',utc:1705162226478,…}`."""
    groups = {name: state == "true" for name, state in _COOKIEBOT.findall(value)}
    method, utc = _METHOD.search(value), _UTC.search(value)
    explicit = method is not None and method[1] == "explicit" and "stamp:'-1'" not in value
    return Told(groups, explicit, int(utc[1]) / 1000 if utc else None) if groups else None


_TCF_OF_DIDOMI = {
    "cookies": 1,
    "select_basic_ads": 2,
    "create_ads_profile": 3,
    "select_personalized_ads": 4,
    "create_content_profile": 5,
    "select_personalized_content": 6,
    "measure_ad_performance": 7,
    "measure_content_performance": 8,
    "market_research": 9,
    "improve_products": 10,
}


def didomi(value: str, jar: Jar) -> Told | None:
    """Base64 of JSON with enabled and disabled purposes; the standard ones are TCF's, others the site's own."""
    token = orjson.loads(b64decode(value + "=" * (-len(value) % 4)))
    purposes = token["purposes"]
    marks = {name: False for name in purposes.get("disabled", ()) if isinstance(name, str)}
    for name in purposes.get("enabled", ()):
        marks.setdefault(name, True)
    standard = {_TCF_OF_DIDOMI[name]: allowed for name, allowed in marks.items() if name in _TCF_OF_DIDOMI}
    mask = sum(1 << number for number, allowed in standard.items() if allowed)
    vendors = token.get("vendors") or {}
    for name in vendors.get("disabled", ()):
        marks.setdefault(name, False)
    for name in vendors.get("enabled", ()):
        marks.setdefault(name, True)
    if not marks:
        return None
    return Told(marks, True, _instant(token.get("updated")), choices=choices_of(mask) if 1 in standard else {})


def trustarc(value: str, jar: Jar) -> Told | None:
    """Levels: 0 required, 1 functional, 2 advertising, as a list of those allowed or as the highest one."""
    prefs, highest, permit = (jar.get(name, "") for name in ("notice_gdpr_prefs", "notice_preferences", "cmapi_cookie_privacy"))
    if re.fullmatch(r"\d(?:[,|]\d){0,9}:?", prefs, re.ASCII):
        levels = set(re.findall(r"\d", prefs))
    elif match := re.fullmatch(r"(\d):?", highest, re.ASCII):
        levels = {str(level) for level in range(int(match[1]) + 1)}
    elif permit.startswith("permit "):
        levels = {str(int(level) - 1) for level in re.findall(r"\d", permit)}
    elif permit.strip() == "deny":
        levels = set()
    else:
        return None
    explicit = jar.get("notice_behavior", "").startswith("expressed")
    return Told({level: level in levels for level in {"1", "2"} | levels}, explicit)


def cookieyes(value: str, jar: Jar) -> Told | None:
    """`consent:yes,action:yes,analytics:no,advertisement:no,…`; empty values are no choice, `action:yes` is the visitor's."""
    fields = dict(pair.partition(":")[::2] for pair in value.split(","))
    names = ("functional", "analytics", "performance", "advertisement", "other")
    groups = {name: _YES_NO[fields[name]] for name in names if fields.get(name) in ("yes", "no")}
    renewed = fields.get("lastRenewedDate", "")
    return Told(groups, fields.get("action") == "yes", _milliseconds(renewed)) if groups else None


def complianz(value: str, jar: Jar) -> Told | None:
    """One cookie a category, allow or deny; a choice once the banner was dismissed."""
    names = ("functional", "preferences", "statistics", "marketing")
    groups = {name: _YES_NO[mark] for name in names if (mark := jar.get(f"cmplz_{name}", "")) in ("allow", "deny")}
    return Told(groups, jar.get("cmplz_banner-status") == "dismissed") if groups else None


def axeptio(value: str, jar: Jar) -> Told | None:
    """JSON of vendors; `$$completed` is a choice, `$$date` its time."""
    held = orjson.loads(value)
    vendors = {name: state for name, state in held.items() if isinstance(state, bool) and not name.startswith("$$")}
    return Told(vendors, held.get("$$completed") is True, _instant(held.get("$$date"))) if vendors else None


_IUBENDA = re.compile(r"_iub_cs-\d{1,20}", re.ASCII)
_IUBENDA_US = re.compile(r"_iub_cs-\d{1,20}-uspr", re.ASCII)


def iubenda(value: str, jar: Jar) -> Told | None:
    """JSON of purposes by number, where a missing one is denied, or `consent` for all; `-uspr` holds the US preferences."""
    us = [orjson.loads(jar[name]) for name in jar if _IUBENDA_US.fullmatch(name)]
    out = any(held.get(key) is False for held in us for key in ("s", "sh", "adv")) or None
    for name, text in jar.items():
        if not _IUBENDA.fullmatch(name):
            continue
        held = orjson.loads(text)
        given, every = held.get("purposes"), held.get("consent")
        if isinstance(given, dict):
            purposes = {str(number): given.get(str(number)) is True for number in range(1, 6)}
        elif isinstance(every, bool):
            purposes = {str(number): every for number in range(1, 6)}
        else:
            continue
        stamp = held.get("timestamp")
        return Told(purposes, bool(stamp), _instant(stamp), out)
    return Told({}, True, opt_out=out) if out else None


def services(value: str, jar: Jar) -> Told | None:
    """JSON of services, true or false (Klaro): the site's own names, for `consent.categories`."""
    return flags(value, jar)


def flags(value: str, jar: Jar) -> Told | None:
    """JSON of categories, true or false."""
    held = orjson.loads(value)
    groups = {name: state for name, state in held.items() if isinstance(state, bool)}
    return Told(groups, True) if groups else None


def borlabs(value: str, jar: Jar) -> Told | None:
    """JSON of groups, each a list of services: one that is missing or empty was denied."""
    consents = orjson.loads(value)["consents"]
    groups = {name: bool(listed) for name, listed in consents.items() if isinstance(listed, list)}
    return Told({"statistics": False, "marketing": False, **groups}, True)


def cookie_law_info(value: str, jar: Jar) -> Told | None:
    """One cookie a category, yes or no; a choice once the policy was viewed."""
    start = "cookielawinfo-checkbox-"
    boxes = {name[len(start) :]: mark for name, mark in jar.items() if name.startswith(start)}
    groups = {name: _YES_NO[mark] for name, mark in boxes.items() if mark in ("yes", "no")}
    return Told(groups, jar.get("viewed_cookie_policy") == "yes") if groups else None


def orestbida(value: str, jar: Jar) -> Told | None:
    """JSON with a list of the categories that were accepted; analytics and ads that are not in it were not."""
    held = orjson.loads(value)
    accepted = {name for name in held["categories"] if isinstance(name, str)}
    groups = dict.fromkeys(accepted, True)
    groups.setdefault("analytics", False)
    if accepted.isdisjoint({"marketing", "advertising", "advertisement", "ads", "targeting"}):
        groups["ads"] = False
    return Told(groups, True, _instant(held.get("lastConsentTimestamp") or held.get("consentTimestamp")))


def shopify(value: str, jar: Jar) -> Told | None:
    """JSON: `{"con": {"CMP": {"a": "1", "m": "0", "p": "", "s": ""}}}`: analytics, marketing, preferences, sale of data."""
    held: dict[str, Any] = orjson.loads(value)["con"]["CMP"]
    groups = {name: _YES_NO[held[name]] for name in ("a", "m", "p") if held.get(name) in ("0", "1")}
    out = True if held.get("s") == "0" else None
    return Told(groups, True, opt_out=out) if groups or out else None


def _instant(given: Any) -> float | None:
    if not isinstance(given, str):
        return None
    try:
        return parse_instant(given)
    except ValueError:
        return None


def _milliseconds(text: str) -> float | None:
    return int(text) / 1000 if re.fullmatch(r"\d{12,14}", text, re.ASCII) else None
