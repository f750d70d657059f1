"""Joins the ready bytes of parts under their envelope: nothing is serialised twice.

Kinds: json (wrapped, or one event as the body), form and query (the same, as pairs), ndjson (a line each), text.
GET, HEAD and DELETE carry no body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.destination import Envelope, Part
from gateway.mapping.envelope import BODILESS, add_query, pairs

LINES = ("ndjson", "text")
"""Kinds whose body is a list by itself, so they need no wrap to hold several events."""


def serialise(payload: Any, kind: str) -> bytes:
    """The bytes of one event. Raises TypeError for what JSON cannot hold (orjson)."""
    if kind == "text" and isinstance(payload, str):
        return payload.encode()
    # a copy: what orjson makes keeps its buffer of several KiB, and a lane may hold thousands of parts
    return b"".join((orjson.dumps({} if payload is None else payload), b""))


def content(envelope: Envelope, parts: Sequence[Part]) -> tuple[str, bytes]:
    """The URL and the body of a request. Raises ValueError for several events where only one fits."""
    kind, url = envelope.body, envelope.url
    if kind in LINES:
        body = b"".join([part.body + b"\n" for part in parts]) if kind == "ndjson" else b"\n".join([p.body for p in parts])
    else:
        body = _joined(envelope, parts)
    if kind in ("query", "form"):
        values = orjson.loads(body)
        coded = pairs(values) if isinstance(values, dict) else []
        if kind == "query":
            return add_query(url, coded), b""
        body = add_query("", coded)[1:].encode()
    return url, b"" if envelope.method in BODILESS else body


def _joined(envelope: Envelope, parts: Sequence[Part]) -> bytes:
    if envelope.wrap is None:
        if len(parts) != 1:
            raise ValueError("without batch.wrap a request carries one event")
        return parts[0].body
    head, tail = envelope.wrap
    return bytes(head + b"[" + b",".join([part.body for part in parts]) + b"]" + tail)
