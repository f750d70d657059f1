"""Google's cross-domain links: `_gl=1*<check>*<key>*<value>*…` in the page's URL hands cookies of another domain over.

Nobody but Google's tag can tell whether the check is right, and a link may be copied and shared. So what it says is taken only
where the page was reached from one of the company's own domains and a time inside the link is within ten minutes; where the
link holds no time, nothing is taken.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gateway.enrich import vendor_cookies

YOUNG = 600.0
_PARAMETER = re.compile(r"[?&#]_gl=([^&#]{1,4000})")
_TIMES = (re.compile(r"\$t(\d{9,11})(?:\$|$)", re.ASCII), re.compile(r"\d{9,11}\.\d+\.\d\.(\d{9,11})\.", re.ASCII))
_CLIENT = re.compile(r"\d{1,20}\.\d{1,20}", re.ASCII)
_CLICKS = {"_gcl_aw": "gclid", "_gcl_dc": "dclid"}


class Linked(NamedTuple):
    """What a link hands over: a Google Analytics client and session, and click ids."""

    client_id: str | None
    session: dict[str, str | int]
    clicks: dict[str, str]


def read(url: str, referrer: str, domains: list[str], now: float) -> Linked | None:
    """What the link of a page's URL hands over; None where there is none, or it may not be trusted."""
    if "_gl=" not in url or not domains or not _from(referrer, domains):
        return None
    match = _PARAMETER.search(url)
    held = decoded(unquote(match[1])) if match else {}
    times = [int(found[1]) for value in held.values() for pattern in _TIMES if (found := pattern.search(value))]
    if not times or any(abs(now - time) > YOUNG for time in times):
        return None
    client = held.get("_ga", "")
    sessions = [value for key, value in held.items() if key.startswith("_ga_")]
    clicks = {name: value.split(".", 2)[2] for key, name in _CLICKS.items() if (value := held.get(key, "")).startswith("GCL.")}
    return Linked(
        client if _CLIENT.fullmatch(client) else None,
        _session(sessions[0]) if sessions else {},
        {name: value for name, value in clicks.items() if re.fullmatch(r"[A-Za-z0-9_-]{10,500}", value)},
    )


def decoded(text: str) -> dict[str, str]:
    """Key → value of a link's text; empty for what is none."""
    version, *parts = text.split("*")
    if version != "1" or len(parts) < 3:
        return {}
    values = parts[1:]
    found: dict[str, str] = {}
    for key, value in zip(values[::2], values[1::2], strict=False):
        try:
            plain = b64decode(value.translate({45: "+", 95: "/", 46: "="}), validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            continue
        found.setdefault(key, plain)
    return found


def _session(value: str) -> dict[str, str | int]:
    """A session cookie's value without its prefix, in both formats."""
    return vendor_cookies.session(f"GS2.1.{value}") or vendor_cookies.session(f"GS1.1.{value}")


def _from(referrer: str, domains: list[str]) -> bool:
    try:
        host = urlsplit(referrer).hostname or ""
    except ValueError:
        return False
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
