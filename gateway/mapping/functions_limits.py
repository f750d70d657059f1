"""Functions that keep names and values within what a vendor takes: patterns, allowed keys, lengths and counts."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from gateway.mapping.functions import Work, as_text, function, is_empty, scalar_text, to_number


def _pattern(text: Any) -> re.Pattern[str]:
    """Compile a pattern. Raises ValueError: a pattern is a constant, so a bad one is an error at load."""
    try:
        return re.compile(scalar_text(text) or "")
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


@function("text", "matches:'[0-9]+'", fewest=1, most=1, each=True, counts=False)
def matches(pattern: Any) -> Work:
    """The value where the whole of it matches a regular expression, else null."""
    known = _pattern(pattern)
    return lambda text: text if known.fullmatch(text) else None


@function("map", "keys:'[a-z_]+'", fewest=1, most=1, counts=False)
def keys(pattern: Any) -> Work:
    """A map with only the keys that match a regular expression as a whole."""
    known = _pattern(pattern)
    return lambda value: {key: inner for key, inner in value.items() if known.fullmatch(key)}


@function("map", counts=False)
def scalars(value: Any) -> Any:
    """A map with only its texts, numbers and booleans; empty values, lists and maps are left out."""
    return {key: inner for key, inner in value.items() if isinstance(inner, (str, int, float)) and not is_empty(inner)}


@function("map", "clip:100", fewest=1, most=1, counts=False)
def clip(length: Any) -> Work:
    """A map whose texts are cut to so many characters."""
    most = int(to_number(length) or 0)
    return lambda value: {key: inner[:most] if isinstance(inner, str) else inner for key, inner in value.items()}


@function("map", "head:25", fewest=1, most=1, counts=False)
def head(count: Any) -> Work:
    """The first so many entries of a map or elements of a list."""
    most = int(to_number(count) or 0)
    return lambda value: dict(list(value.items())[:most]) if isinstance(value, dict) else value[:most]


@function("map", "wrap:value", fewest=1, most=1, counts=False)
def wrap(key: Any) -> Work:
    """A map whose every value stands under a key of its own: `{plan: gold}` becomes `{plan: {value: gold}}`."""
    name = scalar_text(key) or ""
    return lambda value: {outer: {name: inner} for outer, inner in value.items()}


@function("list", "lacking:'id','name'", fewest=1, most=None, counts=False)
def lacking(*names: Any) -> Work:
    """The maps of a list that have none of these keys."""
    wanted = tuple(str(as_text(name)) for name in names)
    return lambda value: [one for one in value if not any(not is_empty(one.get(name)) for name in wanted)]


@function("hash", name="sha256_values", counts=False)
def sha256_values(value: Any) -> Any:
    """A map whose texts and numbers are replaced by their SHA-256 (lower-case hex)."""
    texts = {key: scalar_text(inner) for key, inner in value.items()}
    return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items() if text}
