"""Form fields as browsers and trackers send them: query strings, urlencoded bodies, multipart bodies; and JSON inside base64.

Of a repeated name the first filled value wins, an empty value counts as absent, `+` is a space. Broken %-sequences stay as
typed, bytes that are not UTF-8 become U+FFFD. Files of a multipart body are ignored. Nothing here raises anything but
Refused.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import orjson

from gateway.errors import Malformed
from gateway.receive.hit import Hit

MAX_FIELDS = 500
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,200})"?', re.IGNORECASE)
_PART_NAME = re.compile(r';\s*name="([^"]{1,300})"', re.IGNORECASE)
_PART_FILE = re.compile(r";\s*filename\*?=", re.IGNORECASE)
_PREFETCH = (
    ("sec-purpose", "prefetch"),
    ("purpose", "prefetch"),
    ("x-moz", "prefetch"),
    ("x-purpose", "preview"),
    ("x-purpose", "instant"),
)
_PREFETCH_NAMES = frozenset(name for name, _ in _PREFETCH)
_URL_SAFE = str.maketrans("-_ ", "+/+")


def fields(text: str, absent: Callable[[str], object] | None = None) -> dict[str, str]:
    """The fields of a query string or an urlencoded body, decoded. `absent` tells values that count as none.

    Raises Malformed for more than 500 of them.
    """
    pairs = text.split("&")
    if len(pairs) > MAX_FIELDS:
        raise Malformed(f"more than {MAX_FIELDS} parameters")
    given: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        key, plain = unquote_plus(name).strip(), unquote_plus(value)
        if key and plain and key not in given and not (absent and absent(plain)):
            given[key] = plain
    return given


def body_fields(hit: Hit) -> dict[str, str]:
    """The fields of a posted form, multipart or urlencoded. Raises Malformed."""
    if not hit.body:
        return {}
    kind = hit.headers.get("content-type", "")
    if kind.lower().startswith("multipart/form-data"):
        return _multipart(hit.body, kind)
    return fields(hit.body.decode("utf-8", "replace").strip())


def _multipart(body: bytes, kind: str) -> dict[str, str]:
    boundary = _BOUNDARY.search(kind)
    if boundary is None:
        raise Malformed("the multipart body has no boundary")
    parts = body.split(b"--" + boundary[1].strip().encode())
    if len(parts) > MAX_FIELDS + 2:
        raise Malformed(f"more than {MAX_FIELDS} parameters")
    given: dict[str, str] = {}
    for part in parts[1:]:
        head, found, value = part.partition(b"\r\n\r\n")
        head_text = head.decode("utf-8", "replace")
        name = _PART_NAME.search(head_text)
        text = value.removesuffix(b"\r\n").decode("utf-8", "replace")
        if found and name and text and not _PART_FILE.search(head_text):
            given.setdefault(name[1].strip(), text)
    if not given:
        raise Malformed("the multipart body has no fields")
    return given


def is_prefetch(hit: Hit) -> bool:
    """Whether a browser says that nobody looks at the page yet (`Sec-Purpose: prefetch` and its older spellings)."""
    if _PREFETCH_NAMES.isdisjoint(hit.headers):
        return False
    return any(hit.headers.get(name, "").lower().lstrip(": ").startswith(word) for name, word in _PREFETCH)


def base64_json(text: str) -> Any:
    """The JSON value inside base64 of either alphabet, with or without padding. Raises Malformed."""
    plain = text.strip().translate(_URL_SAFE).rstrip("=")
    try:
        held = b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("base64 inside the event is broken") from None
    return inner_json(held)


def inner_json(text: str | bytes) -> Any:
    """A JSON value that came inside a field. Raises Malformed."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        raise Malformed("JSON inside the event is broken") from None
