"""Who sent a request, as far as the proxies in between can be believed: address, host, country.

Forwarding headers count only from a peer in `trusted_proxies`. The chain is walked from the right, over all lines of
X-Forwarded-For (or RFC 7239 Forwarded where there is none), and the first address that is not a trusted proxy is the
client: what stands left of it was written by the client and is never looked at. An entry that is no address ends the
walk without an address and is counted; `unknown` and obfuscated names end it without one too.

A private peer that is not trusted but sends forwarding headers is most likely a proxy that nobody configured: its
address says nothing of the visitor, so the hit carries none, and `/readyz` and the log ask "behind a proxy?".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from gateway.config.lookups import Geo
from gateway.receive.proxies import CLOUDFLARE, PRIVATE, Address, Networks, cloudfront_ranges, parse_address

MAX_CITY = 100
MAX_REMEMBERED = 8192
"""Addresses whose reading is remembered: parsing one costs more than all else here."""
CLOUDFLARE_LIKELY_BOT = 30
"""Cloudflare's scores from here on are people's."""
UNKNOWN_COUNTRIES = frozenset({"XX", "T1", "ZZ"})
_COUNTRY_NAMES = {"UK": "GB", "EL": "GR"}
_COUNTRY = re.compile(r"[A-Z]{2}")
_REGION = re.compile(r"[A-Z0-9]{1,4}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_PAIR = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,"]*)\s*([;,]|$)')

Headers = Mapping[str, str]
"""Names in lower case, repeated lines joined (gateway/receive/clean.py)."""


class Client(NamedTuple):
    """The sender of one request.

    `ip` is None when it cannot be told; `host` is the name that the client asked for, as it came; `bad` tells that a
    trusted proxy's header could not be read; `suspect` that an untrusted private peer forwards for others.
    """

    ip: str | None
    host: str
    secure: bool = False
    trusted: bool = False
    country: str | None = None
    region: str | None = None
    city: str | None = None
    bad: bool = False
    suspect: bool = False
    bot_score: int = 0


class Proxies:
    """Reads clients out of requests, by the configured `trusted_proxies` and `geo` headers.

    `folder` is where the configuration lies (for `cloudfront`). Raises ConfigErrors.
    """

    def __init__(self, names: Sequence[str], geo: Geo | None = None, folder: Path = Path()) -> None:
        geo = geo or Geo()
        cloudfront = cloudfront_ranges(folder) if "cloudfront" in names else []
        cloudflare = CLOUDFLARE if "cloudflare" in names else []
        private = PRIVATE if "private" in names else []
        own = [name for name in names if name not in ("private", "cloudflare", "cloudfront")]
        self._trusted = Networks([*own, *private, *cloudflare, *cloudfront])
        self._edges = bool(cloudflare or cloudfront)
        self._cloudflare, self._cloudfront = Networks(cloudflare), Networks(cloudfront)
        self._known: dict[str, tuple[str, bool]] = {}
        self._country_header, self._region_header, self._city_header = [
            name.lower() if name else name for name in (geo.country_header, geo.region_header, geo.city_header)
        ]

    def client(self, peer: str | None, headers: Headers) -> Client:
        """Who sent the request that came from the socket address `peer`."""
        host = headers.get("host", "")
        address, trusted = self._read(peer or "")
        if not trusted:
            suspect = (
                ("x-forwarded-for" in headers or "forwarded" in headers) and address != "" and not self.is_visitor(address)
            )
            return Client(None if suspect else address or None, host, suspect=suspect)
        return self._behind(address, host, headers)

    def is_visitor(self, peer: str) -> bool:
        """Whether a socket address is a public one of no trusted proxy."""
        address = parse_address(peer)
        return address is not None and address not in self._trusted and address not in _PRIVATE

    def _read(self, text: str) -> tuple[str, bool]:
        """(address in its usual form, whether it is a trusted proxy's); empty for what is no address."""
        known = self._known.get(text)
        if known is None:
            address = parse_address(text)
            known = ("", False) if address is None else (str(address), address in self._trusted)
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[text] = known
        return known

    def _behind(self, peer: str, host: str, headers: Headers) -> Client:
        hops, hosts, protos = _chain(headers)
        edge = self._edge_address(peer, headers) if self._edges else None
        at, found, bad = self._walk(hops, peer)
        forwarded_host = _beside(hosts, at, len(hops))
        if forwarded_host and not _HOST.fullmatch(forwarded_host):
            forwarded_host, bad = "", True
        country, region, city = self._place(headers) if self._country_header else (None, None, None)
        secure = bool(protos) and _beside(protos, at, len(hops)).lower() == "https"
        bad, bot = bad and edge is None, _bot_score(headers)
        return Client(edge or found or None, forwarded_host or host, secure, True, country, region, city, bad, bot_score=bot)

    def _edge_address(self, peer: str, headers: Headers) -> str | None:
        """The address that a content network states itself, where the peer is one of its servers."""
        server, stated = parse_address(peer), None
        if server is None:
            return None
        if server in self._cloudflare:
            stated = parse_address(headers.get("cf-connecting-ip", ""))
        elif server in self._cloudfront:
            stated = _viewer_address(headers.get("cloudfront-viewer-address", ""))
        return str(stated) if stated else None

    def _walk(self, hops: Sequence[str], peer: str) -> tuple[int, str, bool]:
        """(index of the client's entry, its address, whether an entry was bad); -1 when the peer itself it is.

        The address is empty where the client's entry is withheld or cannot be read: a proxy's own would be nobody's.
        """
        last, at = peer, -1
        for index in range(len(hops) - 1, -1, -1):
            address, trusted = self._read(hops[index])
            if not address:
                return (at, "", False) if _is_withheld(hops[index]) else (-1, "", True)
            last, at = address, index
            if not trusted:
                break
        return at, last, False

    def _place(self, headers: Headers) -> tuple[str | None, str | None, str | None]:
        country = country_code(headers.get(self._country_header, "")) if self._country_header else None
        if not country:
            return None, None, None
        region = headers.get(self._region_header, "").strip().upper() if self._region_header else ""
        region = region.removeprefix(f"{country}-")
        city = _text(headers.get(self._city_header, "")) if self._city_header else None
        return country, region if _REGION.fullmatch(region) else None, city


_PRIVATE = Networks(PRIVATE)
_BOT_HEADERS = frozenset({"x-device-bot-score", "cf-bot-score", "cf-verified-bot"})


def _chain(headers: Headers) -> tuple[list[str], list[str], list[str]]:
    """(for, host, proto) entries in the order in which the proxies added them."""
    chain = headers.get("x-forwarded-for")
    if chain is None and "forwarded" in headers:
        elements = list(_elements(headers["forwarded"]))
        return (
            [element.get("for", "") for element in elements],
            [element.get("host", "") for element in elements],
            [element.get("proto", "") for element in elements],
        )
    return _entries(chain), _entries(headers.get("x-forwarded-host")), _entries(headers.get("x-forwarded-proto"))


def _entries(listed: str | None) -> list[str]:
    return [] if listed is None else [entry.strip() for entry in listed.split(",")]


def _elements(text: str) -> Iterator[Mapping[str, str]]:
    """The elements of RFC 7239 Forwarded; one that cannot be read has an empty `for`, which ends the walk."""
    element: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            yield {}
            return
        value = match[2].strip()
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        element.setdefault(match[1].lower(), value)
        if match[3] != ";":
            yield element
            element = {}
        at = match.end()


def _beside(values: Sequence[str], at: int, hops: int) -> str:
    """The entry that the proxy wrote which saw the client: beside the client's own, else the nearest proxy's."""
    if not values:
        return ""
    return values[at] if len(values) == hops and at >= 0 else values[-1]


def _is_withheld(entry: str) -> bool:
    return entry.lower() == "unknown" or entry.startswith("_")


def _viewer_address(text: str) -> Address | None:
    """`ip:port`, where an IPv6 address has no brackets."""
    host, _, port = text.strip().rpartition(":")
    return parse_address(host.strip("[]")) if port.isdigit() else None


def _bot_score(headers: Headers) -> int:
    """The proxy's own verdict, 0 (none, or a person) to 100.

    `X-Device-Bot-Score` counts from 0 to 100 as we do. Cloudflare's `cf-bot-score` (managed transform "Add bot protection
    headers", https://developers.cloudflare.com/bots/concepts/bot-score/) goes from 1, a bot, to 99, a person, and everything
    below 30 is likely automated; `cf-verified-bot` marks crawlers that it knows.
    """
    if _BOT_HEADERS.isdisjoint(headers):
        return 0
    score = _number(headers.get("x-device-bot-score", ""))
    if headers.get("cf-verified-bot", "").lower() == "true":
        return 100
    person = _number(headers.get("cf-bot-score", ""))
    likely = 101 - person if 0 < person < CLOUDFLARE_LIKELY_BOT else 0
    return min(100, max(score, likely))


def _text(text: str) -> str | None:
    """A name as networks write it: UTF-8 bytes or percent-encoded. None for what cannot be shown."""
    name = unquote(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip())
    return name if name.isprintable() and 0 < len(name) <= MAX_CITY and "\ufffd" not in name else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0


def country_code(text: str) -> str | None:
    """A country's two letters in their usual spelling; None for what names none (`XX`, `T1`, `ZZ`)."""
    code = text.strip().upper()
    if code in UNKNOWN_COUNTRIES or not _COUNTRY.fullmatch(code):
        return None
    return _COUNTRY_NAMES.get(code, code)
