"""Hits from files, for `tagway explain`: a native JSON body, or a raw HTTP request as a tool copies it.

A raw request goes through what the door would ask of it: route and aliases, method, key and Host, Origin, encoding, depth.
What the door would refuse raises Refused with the door's own words. Three things a file cannot have: the socket it came over,
so that an address is known only from a forwarding header that the configuration trusts, a rate, and the signature of a shop's
webhook or of an e-mail's link, whose time or key has passed: such a file is taken at its word.

A native body alone counts as a server's, so that address and agent in it are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.config.models import Gateway
from gateway.errors import GatewayError, Refused, RefusedReason
from gateway.links import unverified
from gateway.receive.clean import add_line, clean_headers, clean_query
from gateway.receive.client import Proxies
from gateway.receive.cors import Origins
from gateway.receive.encoding import coding_of, decode
from gateway.receive.hit import Hit
from gateway.receive.limits import MAX_BODY, check_depth
from gateway.receive.routes import DIALECTS, Dialect, Table
from gateway.receive.rules import hook_of
from gateway.receive.sources import Speaker, Speakers, bearer_of, key_of
from gateway.receive.visit import BROWSER

METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ")
_FORWARDED = ("x-forwarded-for", "forwarded")
_PROXY = "127.0.0.1"
"""The peer that stands in for the proxy which handed a forwarded request over."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request as it stands in a file; `body` is as sent, perhaps compressed."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def looks_raw(raw: bytes) -> bool:
    """Whether a file begins with a request line rather than with JSON."""
    return raw.lstrip().startswith(METHODS)


def native_hit(body: bytes, config: Gateway, source: str | None, now: float) -> Hit:
    """A body for /v1/events."""
    return Hit("POST", "/v1/events", "", {}, body, source_of(config, source), now, server=True)


def parse_request(raw: bytes) -> RawRequest:
    """A raw request: request line, headers, an empty line, the body. Raises GatewayError where it is none."""
    raw = raw.lstrip()
    head, _, body = min((raw.partition(b"\r\n\r\n"), raw.partition(b"\n\n")), key=lambda found: len(found[0]))
    line, *rest = head.decode("utf-8", "surrogateescape").splitlines() or [""]
    words = line.split()
    if len(words) < 2 or not words[0].isalpha() or not words[1].startswith(("/", "http://", "https://")):
        raise GatewayError("the file does not begin with a request line such as: POST /v1/events HTTP/1.1")
    headers: dict[str, str] = {}
    for number, one in enumerate(rest, 2):
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise GatewayError(f"line {number} of the file is no header: it has no colon")
        add_line(headers, name.strip().lower(), value.strip())
    if "://" in words[1]:
        headers.setdefault("host", words[1].split("://", 1)[1].partition("/")[0])
    return RawRequest(words[0].upper(), words[1], headers, _cut(body, headers.get("content-length", "")))


def _cut(body: bytes, length: str) -> bytes:
    """The body without what an editor put at its end; exactly as long as announced where that is said."""
    return body[: int(length)] if length.isdecimal() and int(length) <= len(body) else body.rstrip(b"\r\n")


def read_hit(raw: bytes, config: Gateway, source: str | None, now: float) -> Hit:
    """The hit of a raw request. `source` overrides key, Host and Origin. Raises GatewayError, Refused as the door would."""
    request = parse_request(raw)
    paths = [config.paths, *(one.paths for one in config.sources.values() if one.paths)]
    row, segment, query = Table(DIALECTS, paths).find(request.target)
    if not isinstance(row, Dialect):
        raise GatewayError(
            f"{request.target.partition('?')[0]} takes no hits; these do: {', '.join(one.path for one in DIALECTS)}"
        )
    if request.method not in row.methods:
        raise GatewayError(f"{row.path} takes {' and '.join(row.methods)}, not {request.method}")
    headers, query = clean_headers(request.headers), clean_query(query)
    body = decode(request.body, coding_of(headers.get("content-encoding", "")), MAX_BODY)
    if row.json:
        check_depth(body)
    client = Proxies(config.trusted_proxies, config.geo, Path(config.file).parent).client(_PROXY, request.headers)
    forwarded = any(name in request.headers for name in _FORWARDED) and client.ip != _PROXY
    headers = {**headers, "host": client.host}
    if row.link is not None:
        link, body = unverified(row.link, segment)
        speaker = Speaker(source_of(config, source or link.source))
    elif row.signed is not None:
        hook_of(config, source or segment, row.shop)
        speaker = Speaker(source or segment, server=True)
    else:
        speaker = Speaker(source_of(config, source)) if source else _speaker(config, row, headers, query, body)
    return Hit(
        request.method,
        row.path,
        query,
        headers,
        body,
        speaker.source,
        now,
        ip=client.ip if forwarded else None,
        country=client.country,
        region=client.region,
        city=client.city,
        browser=not BROWSER.isdisjoint(headers),
        server=speaker.server,
        bot_score=client.bot_score,
        host=client.host,
    )


def _speaker(config: Gateway, row: Dialect, headers: dict[str, str], query: str, body: bytes) -> Speaker:
    speakers = Speakers(config.sources)
    key = key_of(headers, query)
    maybe, stream = row.named_by(query) if row.named_by else (None, None)
    if key is None and maybe and speakers.knows(maybe):
        key = maybe
    if key is None and row.inner_key is not None:
        bearer = bearer_of(headers)
        key = row.inner_key(body, query) or (bearer if bearer and speakers.knows(bearer) else None)
        if row.loose and key is not None and not speakers.knows(key):
            key = None
    speaker = speakers.speaker(key, headers.get("host", ""), stream)
    origin = headers.get("origin")
    if origin is not None and Origins(config.sources).lines(origin, speaker.source) is None:
        raise Refused("the Origin is not one of the source", reason=RefusedReason.ORIGIN, status=403)
    return speaker


def source_of(config: Gateway, name: str | None) -> str:
    """The named source, or the only one. Raises GatewayError."""
    if name in config.sources:
        return str(name)
    if name is None and len(config.sources) == 1:
        return next(iter(config.sources))
    raise GatewayError(f"name the source with --source: {', '.join(config.sources)}")
