"""Reading consent signals off an event and its request: one small reader per kind, in a table.

A reader is pure and never raises: what it cannot read is no signal. It says what the signal allows per purpose and whether
the visitor chose it; how signals rank is `gateway.consent.decide`'s alone. Another one (TC strings, GPP, the
cookies of consent tools) is one function and one row of READERS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.clock import iso
from gateway.config.models import SourceConsent
from gateway.consent import google
from gateway.event import PURPOSES
from gateway.receive.cookies import cookies, decoded
from gateway.receive.hit import Hit

AD_PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization")

CATEGORIES: dict[str, tuple[str, ...]] = {
    "C0001": (),  # strictly necessary
    "C0002": ("analytics_storage",),
    "C0003": ("functional",),
    "C0004": AD_PURPOSES,
    "C0005": AD_PURPOSES,  # social media
}
"""OneTrust's default categories; a source's `consent.categories` adds to them and replaces them one by one."""

OWN_COOKIE = "_tw_consent"
GOOGLE_DIALECTS = ("ga4",)
"""Dialects that keep Consent Mode's parameters in `raw` under Google's names."""
_OWN = re.compile(r"v1\.([gdu]{4})\.(\d{9,11})\.([ed])", re.ASCII)
_OWN_PURPOSES = ("ad_storage", "ad_user_data", "ad_personalization", "analytics_storage")
_LETTERS = {"g": "granted", "d": "denied", "u": "unknown"}
_US_PRIVACY = re.compile(r"1[YN-][YN-][YN-]", re.IGNORECASE)


class Signal(NamedTuple):
    """What one source says.

    `kind` is the word of a source's `consent.read` list, or `restriction` for what only ever narrows and is always read;
    `choices` are granted or denied per purpose (unknown is left out); `opt_out` is a word about sale and sharing, None
    where it has none; `cookie` tells that it was kept on the device, not stated on the hit; `at` is when it was made.
    """

    name: str
    kind: str
    choices: Mapping[str, str]
    explicit: bool = True
    opt_out: bool | None = None
    cookie: bool = False
    at: str | None = None


CARRIED = "checkout"
"""The kind of a consent that was decided before, in the same checkout (gateway/checkout.py): it always counts."""

Reader = Callable[[Mapping[str, Any], Hit, SourceConsent], Signal | None]


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
    """The `us_privacy` parameter of a pixel or GA4 hit, else the `usprivacy` cookie: an opt-out by its third character, Y."""
    given = [data.get("raw", {}).get("us_privacy")] if data.get("dialect") in ("pixel", "ga4") else []
    header = hit.headers.get("cookie", "")
    if "usprivacy" in header:
        given += [decoded(value) for name, value in cookies(header) if name == "usprivacy"]
    for text in given:
        if isinstance(text, str) and _US_PRIVACY.fullmatch(text) and text[2] != "-":
            return Signal("us_privacy", "restriction", {}, text[1] in "Yy", text[2] in "Yy")
    return None


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


READERS: tuple[Reader, ...] = (event_block, own_cookie, google_choice, google_default, gpc, us_privacy)
"""Every reader that is asked, in the order in which their names appear in a decision."""


def read(data: Mapping[str, Any], hit: Hit, rules: SourceConsent) -> list[Signal]:
    """All signals that spoke."""
    return [signal for reader in READERS if (signal := reader(data, hit, rules)) is not None]
