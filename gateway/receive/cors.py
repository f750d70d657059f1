"""Which pages may call and read the answer: exact origins only (never a pattern, never `null`, never `*` with credentials).

A source with `null_origin` takes hits of sandboxed frames, whose Origin is `null`; such a frame reads no answer.

An Origin is a browser's rule, not a proof of who speaks: when it is sent it must be on the source's list; pixels, servers
and shop sandboxes send none and are told apart by key and Host.

A page that may call may also send what headers it likes, as libraries have their own (`AnonymousId`, `X-Requested-With`): one
that nobody here reads does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.config.models import Source
from gateway.receive.replies import Reply

_USUAL = ("authorization", "content-type", "x-retry-count")
"""Request headers that our own tag and Segment's libraries send."""
MAX_AGE = 7200
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?: *, *[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}){0,31}", re.ASCII)
ANY_ORIGIN = b"Access-Control-Allow-Origin: *\r\n"
FORBIDDEN = Reply(403)


class Origins:
    """The configured origins, with the header lines for each made ahead. A listed origin is compared byte by byte."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._lines = {
            name: {origin: _lines(origin) for origin in source.origins if origin != "null" and origin.isascii()}
            for name, source in sources.items()
        }
        self._sandboxed = frozenset(name for name, source in sources.items() if source.null_origin)
        self._everywhere = {origin: lines for listed in self._lines.values() for origin, lines in listed.items()}

    def lines(self, origin: str, source: str) -> bytes | None:
        """The CORS header lines of a reply to a page of `origin`; None when the source does not list it."""
        if origin == "null" and source in self._sandboxed:
            return b""
        return self._lines[source].get(origin)

    def preflight(self, origin: str | None, source: str | None, methods: str, asked: str = "") -> tuple[Reply, bytes]:
        """The answer to OPTIONS and its CORS lines; `source` is known from Host or query, or None.

        `asked` are the request headers that the page wants to send, by name.

        A browser sends no key with a preflight. Where nothing else names the source any listed origin may go on: the
        request itself is then checked against its own source.
        """
        if origin is None:
            return Reply(204, headers={"Allow": methods}), b""
        listed = self._everywhere if source is None else self._lines[source]
        lines = listed.get(origin)
        if lines is None:
            return FORBIDDEN, b""
        return granted(methods, asked), lines


def granted(methods: str, asked: str = "") -> Reply:
    """The answer to a preflight that is let through; whose page may go on is said by the CORS lines beside it."""
    names = [name.strip().lower() for name in asked.split(",")] if _NAMES.fullmatch(asked) else []
    more = [name for name in names if name not in _USUAL]
    headers = {
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": ", ".join([*_USUAL, *more]),
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    return Reply(204, headers=headers)


def _lines(origin: str) -> bytes:
    text = f"Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n"
    return text.encode("ascii")
