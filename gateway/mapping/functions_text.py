"""Text, hash, encoding and list functions."""

from __future__ import annotations

import base64 as b64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from gateway.mapping.functions import Work, all_text, as_text, function, is_empty, nothing, scalar_text, to_json, to_number

_HEX = re.compile(r"[0-9a-fA-F]+")
HASH_LENGTHS = frozenset((32, 40, 64))


def is_hash(text: str) -> bool:
    """Whether a text is 32, 40 or 64 hexadecimal digits: an MD5, SHA-1 or SHA-256 that arrived hashed."""
    return len(text) in HASH_LENGTHS and _HEX.fullmatch(text) is not None


@function("text", each=True)
def lower(text: str) -> str:
    """Lower case."""
    return text.lower()


@function("text", each=True)
def upper(text: str) -> str:
    """Upper case."""
    return text.upper()


@function("text", each=True, counts=False)
def trim(text: str) -> str | None:
    """Without white space at both ends."""
    return text.strip() or None


@function("text", 'strip:"chars"', fewest=1, most=1, each=True, counts=False)
def strip(chars: Any) -> Work:
    """Without any of the given characters, wherever they stand."""
    gone = str.maketrans("", "", scalar_text(chars) or "")
    return lambda text: text.translate(gone) or None


@function("text", 'replace:"a","b"', fewest=2, most=2, each=True, counts=False)
def replace(old: Any, new: Any) -> Work:
    """Every `a` becomes `b`."""
    before, after = scalar_text(old) or "", scalar_text(new) or ""
    return lambda text: (text.replace(before, after) if before else text) or None


@function("text", "slice:0,100", fewest=1, most=2, counts=False)
def slice_(start: Any, stop: Any = None) -> Work:
    """From one position up to another (not included), of a text or a list; negative positions count from the end."""
    begin = int(to_number(start) or 0)
    end = None if stop is None else int(to_number(stop) or 0)

    def work(value: Any) -> Any:
        if type(value) is str or isinstance(value, list):
            return value[begin:end] or (value[:0] if value.__class__ is list else None)
        return _only_text(value)[begin:end] or None

    return work


def _only_text(value: Any) -> str:
    text = scalar_text(value)
    if text is None:
        raise TypeError("a map has no text")
    return text


@function("text", 'split:","', fewest=1, most=1)
def split(separator: Any) -> Work:
    """A text as the list of its parts, trimmed, empty ones left out."""
    by = scalar_text(separator) or ","

    def work(value: Any) -> list[str]:
        texts = value if isinstance(value, list) else [value]
        parts = (part.strip() for text in texts for part in _only_text(text).split(by))
        return [part for part in parts if part]

    return work


@function("text", 'join:"|"', fewest=1, most=1, counts=False)
def join(separator: Any) -> Work:
    """A list as one text; empty elements are left out."""
    by = "" if separator is None else (scalar_text(separator) or "")

    def work(value: Any) -> str | None:
        texts = value if isinstance(value, list) else [value]
        if all_text(texts):
            return by.join(texts) or None
        return by.join([as_text(text) or "" for text in texts if not is_empty(text)]) or None

    return work


@function("text", 'prefix:"x"', fewest=1, most=1, each=True)
def prefix(start: Any) -> Work:
    """The given text put before, unless the value begins with it."""
    head = scalar_text(start) or ""
    return lambda text: text if text.startswith(head) else head + text


@function("text", each=True)
def urlencode(text: str) -> str:
    """Percent-encoded, everything but letters, digits and `_.-~`."""
    return quote(text, safe="")


@function("text", each=True)
def base64(text: str) -> str:
    """Base64 of the UTF-8 bytes."""
    return b64.b64encode(text.encode()).decode()


@function("text", name="json")
def json_(value: Any) -> str:
    """The value as JSON text."""
    return to_json(value)


HASHES = {"sha256": (hashlib.sha256, 64), "sha1": (hashlib.sha1, 40), "md5": (hashlib.md5, 32)}
"""What makes each hash, and how many hexadecimal digits it has."""


def _hash(name: str) -> Callable[[str], str]:
    make, length = HASHES[name]

    def work(text: str) -> str:
        if len(text) == length and _HEX.fullmatch(text):
            return text.lower()
        return make(text.encode()).hexdigest()

    work.__doc__ = f"{name.upper()} in lower-case hex; a value that is {length} hex digits already passes, lower-cased."
    return work


sha256_hex = _hash("sha256")
function("hash", name="sha256", each=True)(sha256_hex)
function("hash", name="sha1", each=True)(_hash("sha1"))
function("hash", name="md5", each=True)(_hash("md5"))


@function("hash", each=True, counts=False)
def raw_only(text: str) -> str | None:
    """The value, but null where it is a hash already (32, 40 or 64 hex digits)."""
    return None if is_hash(text) else text


@function("hash", "hmac_sha256:$setting.secret", fewest=1, most=1, each=True)
def hmac_sha256(secret: Any) -> Work:
    """HMAC-SHA256 in lower-case hex, keyed with the argument; null without a key."""
    key = (scalar_text(secret) or "").encode()

    def work(text: str) -> str | None:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() if key else None

    return work


@function("list", counts=False)
def first(value: Any) -> Any:
    """The first element of a list; another value is itself."""
    return (value[0] if value else None) if isinstance(value, list) else value


@function("list", counts=False)
def last(value: Any) -> Any:
    """The last element of a list; another value is itself."""
    return (value[-1] if value else None) if isinstance(value, list) else value


@function("list", name="len")
def len_(value: Any) -> int:
    """How many elements a list or map has, or characters a text."""
    return len(value if isinstance(value, (list, dict)) else _only_text(value))


@function("list")
def unique(value: Any) -> list[Any]:
    """A list without repetitions, in its order."""
    if type(value) is list and all_text(value):
        return list(dict.fromkeys(value)) if len(value) > 1 else value
    seen: set[str] = set()
    kept = []
    for element in value if isinstance(value, list) else [value]:
        key = to_json(element)
        if key not in seen:
            seen.add(key)
            kept.append(element)
    return kept


@function("list")
def compact(value: Any) -> Any:
    """A list or map without its empty elements."""
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if not is_empty(inner)}
    return [inner for inner in (value if isinstance(value, list) else [value]) if not is_empty(inner)]


@function("list", 'sum:"price"', fewest=0, most=2, name="sum")
def sum_(key: Any = None, times: Any = None) -> Work:
    """The sum of a list of numbers, or of one key of its maps; with a second key, of products (a missing factor counts as 1).

    Null when no element has a number.
    """
    name, factor = scalar_text(key), scalar_text(times)

    def work(value: Any) -> int | float | None:
        total: int | float | None = None
        for element in value if isinstance(value, list) else [value]:
            number = to_number(element.get(name) if isinstance(element, dict) and name else element)
            if number is None:
                continue
            if factor is not None and isinstance(element, dict):
                count = to_number(element.get(factor, 1))
                number = number * (1 if count is None else count)
            total = number if total is None else total + number
        return to_number(round(total, 10)) if isinstance(total, float) else total

    return work


@function("list", 'pluck:"id"', fewest=1, most=1)
def pluck(key: Any) -> Work:
    """One key of every map in a list; maps without it are left out."""
    name = scalar_text(key)
    if not name:
        return nothing

    def work(value: Any) -> list[Any]:
        found = []
        for one in value if isinstance(value, list) else (value,):
            if type(one) is dict and name in one:
                inner = one[name]
                if inner or not is_empty(inner):
                    found.append(inner)
        return found

    return work
