"""Hits from files, for `tagway explain`: a native JSON body, or a raw HTTP request as a tool copies it.

A file has no client address and no proxy; it counts as a server's, so that address and agent in the body are used.
"""

from __future__ import annotations

from gateway.config.models import Gateway
from gateway.errors import GatewayError
from gateway.receive.hit import Hit

_BROWSER = ("origin", "referer", "cookie")


def native_hit(body: bytes, config: Gateway, source: str | None, now: float) -> Hit:
    """A body for /v1/events."""
    return Hit("POST", "/v1/events", "", {}, body, source_of(config, source), now, server=True)


def read_hit(raw: bytes, config: Gateway, source: str | None, now: float) -> Hit:
    """A raw request: request line, headers, an empty line, the body. Raises GatewayError where it is none."""
    head, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    line, *rest = head.decode("utf-8", "replace").split("\n")
    words = line.split()
    if len(words) < 2 or not words[0].isalpha() or not words[1].startswith(("/", "http")):
        raise GatewayError("the file does not begin with a request line such as: POST /v1/events HTTP/1.1")
    headers: dict[str, str] = {}
    for one in rest:
        name, colon, value = one.partition(":")
        if colon:
            key = name.strip().lower()
            joint = "; " if key == "cookie" else ", "
            headers[key] = f"{headers[key]}{joint}{value.strip()}" if key in headers else value.strip()
    target = "/" + words[1].split("://", 1)[1].partition("/")[2] if "://" in words[1] else words[1]
    path, _, query = target.partition("?")
    named = source or source_by_host(config, headers.get("host", ""))
    browser = any(key in headers for key in _BROWSER) or any(key.startswith("sec-fetch-") for key in headers)
    return Hit(words[0], path, query, headers, body.rstrip(b"\n"), source_of(config, named), now, browser=browser)


def source_by_host(config: Gateway, host: str) -> str | None:
    """The source that a Host names, if one does."""
    name = host.rpartition(":")[0] or host
    return next((key for key, one in config.sources.items() if name in one.hosts), None)


def source_of(config: Gateway, name: str | None) -> str:
    """The named source, or the only one. Raises GatewayError."""
    if name in config.sources:
        return str(name)
    if name is None and len(config.sources) == 1:
        return next(iter(config.sources))
    raise GatewayError(f"name the source with --source: {', '.join(config.sources)}")
