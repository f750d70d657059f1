"""Every parameter of GA4's web hits with a value it may have, and a hit's way through decoder, gate and `role: replace`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gateway.config.models import SourceConsent
from gateway.consent.decide import decide
from gateway.destination import Request
from gateway.enrich import enrich
from gateway.event import Event
from gateway.normalise import Normalised, normalise
from gateway.receive import ga4
from gateway.receive.hit import Hit, RawEvent
from tests import destination_kit as kit

RECEIVED = 1795514400.5
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0"
BASE = {
    "v": "2",
    "tid": "G-TEST12345",
    "cid": "111.222",
    "sid": "1795514300",
    "en": "quiz",
    "gcs": "G111",
    "gcd": "13r3r3r2r5l1",
}
"""The least of a hit that may be sent on."""
HASH = "huC55WwXzE0SOH4ZSbhQU_vnO8POWhGIcTqdMAzGEz0"
ACCEPT_ALL = (
    "CQuMEMAQuMEMAEsAEBENB4FsAP_gAEPgAAYgIzQEIAAgAEAAoABoAFQAOAAqABkADQAJgAWwA_ACOAXmAxkBkgEZgAygBAAKABkAAAAA"
    ".IIzQEIAAgAEAAoABoAFQAOAAqABkADQAJgAWwA_ACOAXmAxkBkgEZgAA.cFAAAAAAAAAA"
)
"""A TC string in which everything is allowed, of 2026-11-24."""
PLAIN: dict[str, str] = {
    # who, where, which session
    "uid": "u-1",
    "_fid": "fire-1",
    "ecid": "1234567",
    "auid": "123.1700000000",
    "_fplc": "abcDEF0123",
    "sct": "5",
    "seg": "1",
    "_p": "1764340309313",
    "_s": "3",
    "_ss": "1",
    "_fv": "1",
    "_nsi": "1",
    "_et": "1200",
    "dl": "https://shop.example/p/1?utm_source=news&gclid=Cj0KCQ",
    "dr": "https://www.google.com/",
    "dt": "Red shoe & more",
    "dh": "shop.example",
    "ul": "en-us",
    "sr": "1920x1080",
    "ir": "1",
    "tt": "internal",
    "frm": "0",
    # campaign
    "cm": "cpc",
    "cs": "partner",
    "cn": "fall",
    "cc": "red",
    "ck": "shoes",
    "ci": "c-1",
    "ccf": "display",
    "cmt": "prospecting",
    "_rnd": "1700000000.5",
    # consent
    "npa": "0",
    "gcu": "1",
    "gcut": "3",
    "dma": "1",
    "dma_cps": "syphamo",
    "pscdl": "noapi",
    "gdpr": "1",
    "gdpr_consent": ACCEPT_ALL,
    "us_privacy": "1YNN",
    # client hints
    "uaa": "arm",
    "uab": "64",
    "uafvl": "Chromium;142.0.1.2|Not_A%20Brand;99.0.0.0|Google%20Chrome;142.0.1.2",
    "uamb": "0",
    "uam": "moto g power (2022)",
    "uap": "macOS",
    "uapv": "14.3.1",
    "uaw": "0",
    # what only Google reads
    "gtm": "45je4bk0v9",
    "are": "1",
    "tfd": "2345",
    "_eu": "AAAI",
    "_ee": "1",
    "_c": "1",
    "_dbg": "1",
    "_glv": "1",
    "ec_mode": "a",
    "ur": "BR-SP",
    "_uc": "BR",
    **dict.fromkeys("_gaz _ng ngs _rdi _geo gtm_up rcb gaf lps _tu tag_exp gdid edid _z excid".split(), "1"),
    # the event
    "cu": "EUR",
    "ep.transaction_id": "T-1",
    "ep.event_id": "e-1",
    "ep.colour": "red & blue",
    "ep.debug_mode": "true",
    "epn.value": "84.8",
    "epn.tax": "13.5",
    "epn.shipping": "4",
    "epn.percent": "90",
    "up.tier": "gold",
    "upn.orders": "7",
    "pr1": "idSKU_1~nmTea~~Pot~brAcme~caShoes~c2Men~c3A~c4B~c5C~va38~pr39.9~qt2~ds1.5~cpTWO~afPartner~lnRelated~lirel~lp3"
    "~lobl-1~cnBanner~cstop~piP-1~pnSummer~k0color~v0red~k1size~v142",
    "pr2": "idSKU_2~pr5",
}
"""Parameters that leave as they came."""
TURNED: dict[str, tuple[str, str, str]] = {
    "ct": ("shoes", "ck", "shoes"),
    "ep.currency": ("USD", "cu", "USD"),
    "ep.value": ("7630", "epn.value", "7630"),
    "ep.traffic_type": ("internal", "tt", "internal"),
    "em": (f"tv.1~em.{HASH}~fn0.{HASH}~co0.DE", "em", f"tv.1~em.{HASH}~fn0.{HASH}~co0.DE"),
    "ep.user_data.sha256_email_address": (
        "86e0b9e56c17cc4d12387e1949b85053fbe73bc3ce5a1188713a9d300cc6133d", "em", f"tv.1~em.{HASH}",
    ),
}  # fmt: skip
"""Parameters that leave under another name or form: parameter → (value, name, value)."""
KEPT_HERE = {
    "richsstsse": "",
    "sst.uc": "US",
    "sst.etld": "google.com",
    "sst.gcd": "13r3r3r2r5l1",
    "sst.tft": "1764340309000",
    "sst.rnd": "12.5",
    "sst.adr": "1",
    "sst.lpc": "77",
    "sst.navt": "n",
    "sst.ude": "0",
    "sst.sw_exp": "1",
}
"""For a tagging server alone: kept in the event, not sent on."""


def hit(query: str, body: bytes = b"", **changes: Any) -> Hit:
    """A browser's hit."""
    fields: dict[str, Any] = {
        "headers": {"user-agent": AGENT, "origin": "https://shop.example"},
        "ip": "203.0.113.7",
        "browser": True,
    }
    return Hit(
        method="POST", route="/g/collect", query=query, body=body, source="shop", received=RECEIVED, **{**fields, **changes}
    )


def query(values: Mapping[str, str]) -> str:
    """A query string."""
    return urlencode(values, quote_via=quote)


def events(of: Hit) -> list[Event]:
    """The canonical events of a hit, consent decided."""
    found = []
    for raw in ga4.decode(of):
        assert isinstance(raw, RawEvent), raw
        made = normalise(raw, of, RECEIVED)
        assert isinstance(made, Normalised)
        data = enrich(made.data, of)
        data["consent"] = decide(data, of, SourceConsent())
        found.append(Event(data))
    return found


def sent_on(event: Event, settings: Mapping[str, Any] | None = None, file: Mapping[str, Any] | None = None) -> Request:
    """The request of an event under `role: replace`."""
    one = kit.ready("ga4", {"role": "replace", "user_data": True, **(settings or {})}, file)
    made = one.plan.parts(event, kit.NOW)
    assert isinstance(made, list), made
    assert not one.plan.loops(event)
    return kit.request(one, made)


def parameters(request: Request) -> dict[str, str]:
    """What a web hit says, body over query."""
    shared = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    return dict([*shared, *parse_qsl(request.body.decode(), keep_blank_values=True)])
