"""Functions that sift: which texts, keys and values of a free map may go out, and how many."""

from __future__ import annotations

import re
from typing import Any

from gateway.mapping.functions import Work, as_text, function, is_empty, scalar_text, to_number
from gateway.mapping.functions_text import sha256_hex

MAX_TEXT = 8192
"""Longer texts match no pattern, so that no pattern can take long over what a visitor sent."""
_SCALARS = frozenset((str, int, float, bool, type(None)))


def _pattern(given: Any) -> re.Pattern[str]:
    try:
        return re.compile(scalar_text(given) or "")
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None


def _count(given: Any) -> int:
    number = to_number(given)
    if number is None or number < 0:
        raise ValueError("a number of 0 or more is wanted")
    return int(number)


@function("text", "matches:'[0-9]+'", fewest=1, most=1, each=True, counts=False)
def matches(pattern: Any) -> Work:
    """The text where the whole of it matches a regular expression, else null."""
    fits = _pattern(pattern).fullmatch
    return lambda text: text if len(text) <= MAX_TEXT and fits(text) else None


@function("text", "clip:100", fewest=1, most=1, counts=False)
def clip(length: Any) -> Work:
    """A text, or each text in a map or list, cut to so many characters."""
    most = _count(length)

    def work(value: Any) -> Any:
        if isinstance(value, str):
            return value[:most]
        if isinstance(value, dict):
            return {key: inner[:most] if isinstance(inner, str) else inner for key, inner in value.items()}
        return [inner[:most] if isinstance(inner, str) else inner for inner in value] if isinstance(value, list) else value

    return work


@function("list", "head:20", fewest=1, most=1, counts=False)
def head(count: Any) -> Work:
    """The first so many entries of a list or map."""
    most = _count(count)

    def work(value: Any) -> Any:
        return dict(list(value.items())[:most]) if isinstance(value, dict) else value[:most]

    return work


@function("list", "lacking:'id','name'", fewest=1, most=None, counts=False)
def lacking(*given: Any) -> Work:
    """The maps of a list that have none of these keys."""
    keys = [str(as_text(key)) for key in given]
    first = keys[0]

    def lacks(one: Any) -> bool:
        if isinstance(one, dict):
            for key in keys:
                found = one.get(key)
                if found or not is_empty(found):
                    return False
        return True

    def work(value: Any) -> list[Any]:
        ones = value if isinstance(value, list) else [value]
        return [one for one in ones if not (type(one) is dict and one.get(first)) and lacks(one)]

    return work


@function("map", "keys:'[a-z_]+'", fewest=1, most=1, counts=False)
def keys(pattern: Any) -> Work:
    """A map with only the keys that match a regular expression as a whole."""
    compiled = _pattern(pattern)
    return lambda value: {key: inner for key, inner in value.items() if len(key) <= MAX_TEXT and compiled.fullmatch(key)}


@function("map", counts=False)
def scalars(value: Any) -> Any:
    """A map or list with only its texts, numbers and booleans."""
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if isinstance(inner, (str, int, float))}
    return [inner for inner in value if isinstance(inner, (str, int, float))]


@function("map", counts=False)
def nested(value: Any) -> list[Any]:
    """The lists and maps among the values of a map or the elements of a list."""
    inner = value.values() if isinstance(value, dict) else value
    if _SCALARS.issuperset(map(type, inner)):
        return []
    return [one for one in inner if isinstance(one, (dict, list))]


@function("map", counts=False)
def values(value: Any) -> list[Any]:
    """The values of a map as a list."""
    return list(value.values())


@function("map", "wrap:value", fewest=1, most=1)
def wrap(key: Any) -> Work:
    """Each value of a map in a map of its own, under this key."""
    name = scalar_text(key) or "value"
    return lambda value: {outer: {name: inner} for outer, inner in value.items()}


@function("hash")
def sha256_values(value: Any) -> dict[str, Any]:
    """Each text, number and boolean of a map as `sha256` has it, lists element by element; the rest is left out."""
    out: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, list):
            out[key] = [sha256_hex(text) for one in inner if (text := scalar_text(one))]
        elif text := scalar_text(inner):
            out[key] = sha256_hex(text)
    return out
