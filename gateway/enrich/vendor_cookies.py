"""Vendors' first-party cookies on the request: only values of the vendor's own pattern are taken, of duplicates the first.

    _fbp, _fbc      fb.<n>.<ms>.<payload>[.<2 or 8 characters>]
    _ga             GA1.<n>[-<m>].<random>.<epoch s>, or AMP's amp-<token>: the client id is the last two parts
    FPID            FPID2.<n>.<id>: a tagging server's client id, before `_ga`
    _ga_<STREAM>    GS1.<n>.<session>.<count>. … or GS2.<n>.s<session>$o<count>$ … in any order
    _gcl_<..>       GCL.<epoch s>.<click id>: aw gclid, dc dclid, gb wbraid, ag gbraid (also 2.1.k<gbraid>$i<epoch s>)
    _ttp, ttclid, _uetmsclkid, _uetvid, _uetsid, _scid, _sccid, _epik, _pin_unauth, _rdt_uuid, _rdt_cid, _twclid, li_fat_id

Anybody can plant a cookie, so each pattern is narrow and at most 256 characters (512 for click ids).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from gateway.receive.cookies import cookies, decoded

_ID = r"[A-Za-z0-9_.~=+/-]"
_GA = re.compile(r"GA1\.\d{1,2}(?:-\d{1,2})?\.(?:(\d{1,20}\.\d{1,20})|(amp-[A-Za-z0-9_-]{8,200}))", re.ASCII)
_GS1 = re.compile(r"GS1\.\d{1,2}\.(\d{9,11})\.(\d{1,9})(?:\.\d{0,20})*", re.ASCII)
_GS2 = re.compile(r"GS2\.\d{1,2}\.([A-Za-z0-9$_-]{1,240})", re.ASCII)
_FPID = re.compile(rf"FPID2\.\d{{1,2}}\.({_ID}{{1,200}})", re.ASCII)
_STREAM = re.compile(r"_ga_[A-Z0-9]{4,20}", re.ASCII)


@dataclass(slots=True)
class Found:
    """What the cookies say: `ids`, the Google Analytics session, and an anonymous id of a Segment library."""

    ids: dict[str, str] = field(default_factory=dict)
    session: dict[str, str | int] = field(default_factory=dict)
    anonymous_id: str | None = None


def _matching(pattern: str) -> Callable[[str], str | None]:
    compiled = re.compile(pattern, re.ASCII)

    def take(value: str) -> str | None:
        match = compiled.fullmatch(value)
        return (match[1] if compiled.groups else match[0]) if match else None

    return take


def _ga(value: str) -> str | None:
    match = _GA.fullmatch(value)
    return (match[1] or match[2]) if match else None


def _fpid(value: str) -> str | None:
    match = _FPID.fullmatch(value)
    return match[1] if match else None


def _twclid(value: str) -> str | None:
    """X keeps its click id inside JSON."""
    try:
        held = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    click = held.get("twclid") if isinstance(held, dict) else None
    return click if isinstance(click, str) and re.fullmatch(r"[A-Za-z0-9-]{5,64}", click) else None


_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_COOKIES: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "_fbp": ("fbp", _matching(r"fb\.\d\.\d{10,16}\.\d{1,20}(?:\.(?:[A-Za-z0-9_-]{2}|[A-Za-z0-9_-]{8}))?")),
    "_fbc": ("fbc", _matching(r"fb\.\d\.\d{10,16}\.[A-Za-z0-9_-]{1,500}(?:\.(?:[A-Za-z0-9_-]{2}|[A-Za-z0-9_-]{8}))?")),
    "_ga": ("ga_client_id", _ga),
    "_ttp": ("ttp", _matching(r"[A-Za-z0-9_.-]{10,100}")),
    "ttclid": ("ttclid", _matching(rf"{_ID}{{10,512}}")),
    "_gcl_aw": ("gclid", _matching(r"GCL\.\d{9,11}\.([A-Za-z0-9_-]{10,500})")),
    "_gcl_dc": ("dclid", _matching(r"GCL\.\d{9,11}\.([A-Za-z0-9_-]{10,500})")),
    "_gcl_gb": ("wbraid", _matching(r"GCL\.\d{9,11}\.([A-Za-z0-9_-]{10,500})")),
    "_gcl_ag": ("gbraid", _matching(r"(?:GCL\.\d{9,11}\.|2\.1\.k)([A-Za-z0-9_-]{10,500})(?:\$.{0,200})?")),
    "_uetmsclkid": ("msclkid", _matching(r"_uet([0-9a-fA-F]{32}(?:-[0-9A-Za-z]{1,20})?)")),
    "_uetvid": ("uetvid", _matching(r"([0-9a-fA-F]{32})(?:\|.{0,200})?")),
    "_uetsid": ("uetsid", _matching(r"([0-9a-fA-F]{32})(?:\|.{0,200})?")),
    "_scid": ("scid", _matching(_UUID)),
    "_sccid": ("sccid", _matching(_UUID)),
    "_pin_unauth": ("pin_unauth", _matching(rf"{_ID}{{10,512}}")),
    "_epik": ("epik", _matching(rf"{_ID}{{10,512}}")),
    "_rdt_uuid": ("rdt_uuid", _matching(rf"\d{{10,16}}\.{_UUID}")),
    "_rdt_cid": ("rdt_cid", _matching(rf"{_ID}{{5,512}}")),
    "_twclid": ("twclid", _twclid),
    "li_fat_id": ("li_fat_id", _matching(_UUID)),
}
_anonymous = _matching(r"[A-Za-z0-9_.:@|-]{8,100}")


def read(header: str) -> Found:
    """Everything known in a Cookie header."""
    found = Found()
    server_id = None
    for name, value in cookies(header):
        if name in _COOKIES:
            key, take = _COOKIES[name]
            if key not in found.ids and (taken := take(decoded(value))):
                found.ids[key] = taken
        elif name == "FPID":
            server_id = server_id or _fpid(decoded(value))
        elif not found.session and name.startswith("_ga_") and _STREAM.fullmatch(name):
            found.session = session(decoded(value))
        elif name == "ajs_anonymous_id" and found.anonymous_id is None:
            found.anonymous_id = _anonymous(decoded(value).strip('"'))
    if server_id:
        found.ids["ga_client_id"] = server_id
    return found


def session(value: str) -> dict[str, str | int]:
    """Start (as text, epoch seconds) and number of the session in a `_ga_<STREAM>` cookie; empty where there is none.

    >>> session("GS2.1.s1700000123$o4$g1$t1700000456")
    {'id': '1700000123', 'number': 4}
    """
    if old := _GS1.fullmatch(value):
        return {"id": old[1], "number": int(old[2])}
    new = _GS2.fullmatch(value)
    if not new:
        return {}
    parts = {part[0]: part[1:] for part in new[1].split("$") if part}
    start, count = parts.get("s", ""), parts.get("o", "")
    if not (start.isdigit() and 9 <= len(start) <= 11):
        return {}
    return {"id": start, "number": int(count)} if count.isdigit() and len(count) < 10 else {"id": start}
