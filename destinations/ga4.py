"""Google Analytics 4: under `role: replace` a hit of gtag.js goes on as the web hit it was, `POST /g/collect`.

The manifest decides which events these are and maps them as any other; here the result is written as a web hit: what all
events of a page share and the event's own parameters in the query, in the body where that is too long. Google documents
none of this; it is what gtag.js sends. A web hit is alone in its request: its client, session and consent are its own.

- `tid` is the destination's own. Client, session, first visit, engagement, page, client hints and every parameter that the
  gateway does not know are the hit's; `_uip` and the User-Agent are the visitor's, as the manifest's envelope says them.
- Consent Mode is what the gateway decided: `gcd`, `gcs`, `npa` and `dma_cps` are as they came where that is the same.
- What only a tagging server reads (`sst.*`, `richsstsse`) stays here; `em` is made of the envelope's `user_data`.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import orjson

from gateway.destination import Batch, Destination, Part, Request

PATH = "/g/collect"
MAX_URL = 7000
"""Characters of a URL; a longer hit has its event in the body."""
Pairs = list[tuple[str, str]]

FIELDS: tuple[tuple[str, str, str], ...] = (
    ("_fid", "ids", "firebase_id"),
    ("sid", "session", "id"),
    ("sct", "session", "number"),
    ("dl", "page", "url"),
    ("dr", "page", "referrer"),
    ("dt", "page", "title"),
    ("ul", "device", "language"),
    ("auid", "ids", "gcl_au"),
    ("_fplc", "ids", "fplc"),
)
"""Parameter ← section, key."""
HINTS = (("uap", "os"), ("uapv", "os_version"), ("uam", "model"))
CAMPAIGN = {"cm": "medium", "cs": "source", "cn": "name", "cc": "content", "ck": "term", "ci": "id"}
ITEM = {
    "id": "item_id", "nm": "item_name", "br": "item_brand", "ca": "item_category", "c2": "item_category2",
    "c3": "item_category3", "c4": "item_category4", "c5": "item_category5", "va": "item_variant", "pr": "price",
    "qt": "quantity", "ds": "discount", "cp": "coupon", "af": "affiliation", "ln": "item_list_name",
    "li": "item_list_id", "lp": "index", "lo": "location_id", "cn": "creative_name", "cs": "creative_slot",
    "pi": "promotion_id", "pn": "promotion_name",
}  # fmt: skip
PROMOTION = {"promotion_id": "pi", "promotion_name": "pn", "creative_name": "cn", "creative_slot": "cs", "location_id": "lo"}
_PROMOTIONS = ("view_promotion", "select_promotion")
_OF_ITEMS = frozenset("id name brand category category2 category3 category4 category5 variant list list_id".split())
_OF_PAGE = frozenset("session_id session_number engagement_time_msec page_location page_referrer page_title language".split())
"""Parameters by which the Measurement Protocol says what a web hit says otherwise; under `ep.` they are the site's own."""
_CONSENT = frozenset("gcs gcd npa dma_cps".split())
_OURS = frozenset("time reason props.value uafvl richsstsse tagway.visitor".split()) | _CONSENT
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_GCD = re.compile(r"(1\d)(\w)(\d)(\w)(\d)(\w)(\d)(\w)(\w*)", re.ASCII)
_NO_MODE = ("13", "l", "3", "l", "3", "l", "3", "l", "5")
"""What `gcd` says on a page without Consent Mode, in the parts of the pattern above."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Ga4(Destination):
    """Writes web hits; everything else is as the manifest says."""

    def request(self, batch: Batch, now: float) -> Request:
        """The request that carries a batch."""
        made = super().request(batch, now)
        address = made.url.partition("?")[0]
        if not address.endswith(PATH):
            return made
        part = batch.parts[0]
        head, tail = part.envelope.wrap
        wrap = orjson.loads(head + b"[]" + tail)
        shared, own = _shared(part, wrap), _own(part)
        headers = {}
        if re.fullmatch(r"[!-~][ -~]{0,1000}", agent := wrap.get("user_agent", "")):
            headers["User-Agent"] = agent
        url = f"{address}?{_coded(shared + own)}"
        if len(url) <= MAX_URL and part.name not in _PROMOTIONS:
            return replace(made, url=url, headers=headers, body=b"")
        headers["Content-Type"] = "text/plain;charset=UTF-8"
        return replace(made, url=f"{address}?{_coded(shared)}", headers=headers, body=_coded(own).encode())


def _coded(values: Pairs) -> str:
    return urlencode(values, quote_via=quote, safe="")


def _shared(part: Part, wrap: Mapping[str, Any]) -> Pairs:
    """What all events of a page share."""
    event = part.event
    raw, device = event.data.get("raw", {}), event.data.get("device", {})
    out: Pairs = [("v", "2"), ("tid", str(wrap["web"]["tid"]))]
    out += _filled({"cid": event.get("ids", "ga_client_id") or wrap.get("client_id"), "uid": wrap.get("user_id")})
    out += _filled({name: event.get(section, key) for name, section, key in FIELDS})
    if "screen_width" in device and "screen_height" in device:
        out.append(("sr", f"{device['screen_width']:.0f}x{device['screen_height']:.0f}"))
    if not raw.keys().isdisjoint(("uaa", "uab", "uamb", "uafvl")):
        out += _filled({name: device.get(key) for name, key in HINTS})
    if brands := raw.get("uafvl"):
        pairs = (one.rpartition(";") for one in str(brands).split("|"))
        out.append(("uafvl", "|".join(f"{quote(brand, safe='')};{version}" for brand, _, version in pairs)))
    out += _filled(_campaign(event.data.get("campaign", {}), event.get("page", "url") or ""))
    out += _filled({"_uip": wrap.get("ip_override"), "em": _hashes(wrap.get("user_data", {}))})
    out += _consent(raw, event.data.get("consent", {}), wrap.get("consent", {}))
    return out + _filled(
        {key: "" if value is True else value for key, value in raw.items() if key not in _OURS and _unknown(key)}, keep=True
    )


def _unknown(key: str) -> bool:
    return bool(_NAME.fullmatch(key)) and not key.startswith(("sst.", "ep."))


def _filled(values: Mapping[str, Any], *, keep: bool = False) -> Pairs:
    """Parameters that have a value; `keep` also those that are flags."""
    return [(key, _text(value)) for key, value in values.items() if value is not None and (keep or value != "")]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _campaign(given: Mapping[str, Any], url: str) -> dict[str, Any]:
    """What the page said beside its URL: Google reads the URL itself."""
    utm = dict(parse_qsl(url.partition("#")[0].partition("?")[2])) if "utm_" in url else {}
    names = {"name": "campaign"}
    return {key: given[name] for key, name in CAMPAIGN.items() if given.get(name) != utm.get(f"utm_{names.get(name, name)}")
            and name in given}  # fmt: skip


def _own(part: Part) -> Pairs:
    """The event's own parameters."""
    event, params = part.event.data, dict(part.payload.get("params", {}))
    raw, props = event.get("raw", {}), event.get("props", {})
    out: Pairs = [("en", part.name)]
    out += _filled({"_et": event.get("engagement_ms"), "cu": params.pop("currency", None)})
    out += _filled({"tt": params.pop("traffic_type", None), "ep.event_id": raw.get("ep.event_id")})
    if "debug_mode" in params and "debug_mode" not in props:
        del params["debug_mode"]
        out += [] if "_dbg" in raw else [("_dbg", "1")]
    if part.name in _PROMOTIONS:
        out += _filled({short: params.pop(name, None) for name, short in PROMOTION.items()})
    for number, text in enumerate(_items(params.pop("items", []), event.get("items", [])), 1):
        out.append((f"pr{number}", text))
    out += [_typed("ep", name, value) for name, value in params.items() if name not in _OF_PAGE]
    out += [_typed("ep", name, props[name]) for name in sorted(_OF_PAGE & props.keys())]
    return out + [_typed("up", name, value) for name, value in _traits(event.get("user", {}).get("traits", {})).items()]


def _traits(given: Mapping[str, Any]) -> dict[str, Any]:
    """User properties; a name with a dot is user data that nobody knows."""
    return {name: value for name, value in given.items() if isinstance(value, (str, int, float)) and "." not in name}


def _typed(kind: str, name: str, value: Any) -> tuple[str, str]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{kind}n.{name}" if number else f"{kind}.{name}", _text(value)


def _items(made: list[dict[str, Any]], given: list[dict[str, Any]]) -> list[str]:
    """Items in Google's short form; the site's own parameters are those of the event's items that have no place there."""
    texts = []
    for number, item in enumerate(made):
        fields = [f"{short}{_text(item[name])}" for short, name in ITEM.items() if name in item]
        other = given[number] if len(given) == len(made) else {}
        free = {
            k: v for k, v in other.items() if k not in _OF_ITEMS and k not in ITEM.values() and isinstance(v, (str, int, float))
        }
        for index, (name, value) in enumerate(free.items()):
            fields += [f"k{index}{name}", f"v{index}{_text(value)}"]
        texts.append("~".join(field.replace("~", "~~") for field in fields))
    return texts


def _hashes(data: Mapping[str, Any]) -> str | None:
    """`em=tv.1~em.<hash>~…` of hashes in hex; None where there are none."""
    parts = [
        (f"{key}", one)
        for key, name in (("em", "email_address"), ("pn", "phone_number"))
        for one in data.get(f"sha256_{name}", [])
    ]
    for address in data.get("address", [])[:1]:
        named = {"fn0": "sha256_first_name", "ln0": "sha256_last_name", "sa0": "sha256_street"}
        plain = {"ct0": "city", "pc0": "postal_code", "rg0": "region", "co0": "country"}
        parts += [(key, address[name]) for key, name in (named | plain).items() if name in address]
    coded = [f"{key}.{_base64(value) if re.fullmatch('[0-9a-f]{64}', value) else value}" for key, value in parts]
    return "~".join(["tv.1", *coded]) if coded else None


def _base64(value: str) -> str:
    return urlsafe_b64encode(bytes.fromhex(value)).decode().rstrip("=")


def _consent(raw: Mapping[str, Any], decided: Mapping[str, Any], said: Mapping[str, Any]) -> Pairs:
    """Consent Mode as the gateway decided: a letter that says something else gets an update."""
    granted = [decided.get("ad_storage") == "granted", decided.get("analytics_storage") == "granted"]
    granted += [said.get(purpose) == "GRANTED" for purpose in ("ad_user_data", "ad_personalization")]
    found = _GCD.fullmatch(str(raw.get("gcd", "")))
    if found is None and all(granted) and raw.get("gcs") in (None, "G111"):
        return _filled({key: raw[key] for key in ("gcs", "npa", "dma_cps") if key in raw})
    parts = list(found.groups()) if found else list(_NO_MODE)
    for place, wanted in enumerate(granted):
        parts[2 * place + 1] = _letter(parts[2 * place + 1], wanted)
    services = str(raw["dma_cps"]) if "dma_cps" in raw else None
    if services is not None and not granted[2]:
        services = services.replace("a", "") or "-"
    npa = "0" if granted[3] and "npa" in raw else None if granted[3] else "1"
    return _filled({"gcs": f"G1{granted[0]:d}{granted[1]:d}", "gcd": "".join(parts), "npa": npa, "dma_cps": services})


def _letter(letter: str, granted: bool) -> str:
    """The letter where it says the same, else with the update that does: its last two bits are 3 granted, 2 denied."""
    index, code = _LETTERS.index(letter), 3 if granted else 2
    default, update = index >> 2 & 3, index & 3
    return letter if (update if update > 1 else default) == code else _LETTERS[index & ~3 | code]
