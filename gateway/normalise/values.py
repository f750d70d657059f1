"""Single values: what text, numbers and maps must be before they are an event's (limits of design §3).

Text is NFC, without C0 controls (tab and line feed stay) and lone surrogates. Null and empty text are absent. Numbers of
the schema are finite, within ±1e12 and have at most six decimals (more are rounded: they are the noise of binary sums);
text is read as a number only in plain ASCII decimal notation, so `1,5` and `１２` are nothing.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 32
MAX_KEYS = 1000
LIMIT = 1e12
DECIMALS = 6
TO_WHOLE = 1.5 * 2.0**52

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NUMERIC = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_INTEGERS = (-(2**63), 2**64 - 1)


class _Absent:
    """The value of what is not there: null, empty text, and what cannot be kept."""


ABSENT = _Absent()


def is_clean(dump: bytes) -> bool:
    """Whether JSON text holds nothing that `cleaned` would change: then it need not be walked. False may be a false alarm."""
    return dump.isascii() and b"\\" not in dump and b"null" not in dump and b'""' not in dump


def may_be_large(dump: bytes) -> bool:
    """Whether JSON text could exceed the limits of depth and keys; exact counting is `measure`'s."""
    return dump.count(b"{") + dump.count(b"[") > MAX_DEPTH or len(dump) > 4 * MAX_KEYS


def measure(value: Any) -> tuple[int, int]:
    """(depth, number of keys) of nested maps and lists, without recursion; stops early above the limits."""
    depth, keys, level = 0, 0, [value]
    while level and depth <= MAX_DEPTH and keys <= MAX_KEYS:
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                keys += len(node)
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        depth += any(isinstance(node, (dict, list)) for node in level)
        level = below
    return depth, keys


def is_printable(value: str) -> bool:
    """Whether a text has no control characters and can be written as UTF-8."""
    return (value.isascii() and value.isprintable()) or not _UNPRINTABLE.search(value)


def text(value: str) -> str:
    """A text as it is stored."""
    plain = _CONTROL.sub("", value)
    return plain if plain.isascii() else unicodedata.normalize("NFC", plain)


def cleaned(value: Any, lose: Callable[[], None]) -> Any:
    """A value fit to be stored, or ABSENT; `lose` is called for each one that was there and cannot be kept."""
    if isinstance(value, str):
        plain = text(value)
        if plain != value and _NUMERIC.fullmatch(plain):  # 1, NUL, 2 is not twelve
            lose()
            return ABSENT
        return plain or ABSENT
    if value is None:
        return ABSENT
    if isinstance(value, dict):
        pairs = ((text(str(key)), cleaned(inner, lose)) for key, inner in value.items())
        return {key: inner for key, inner in pairs if key and inner is not ABSENT}
    if isinstance(value, list):
        return [inner for inner in (cleaned(inner, lose) for inner in value) if inner is not ABSENT]
    if isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, int) and _INTEGERS[0] <= value <= _INTEGERS[1]:
        return value
    lose()
    return ABSENT


def is_rounded(value: float) -> bool:
    """Whether a float has at most six decimals, as `round` would leave it, in a fifth of the time.

    Adding and taking away `TO_WHOLE` leaves the nearest whole number of millionths; divided again it is the correctly
    rounded quotient, the very float that `round` gives, as long as all of it stays well below 2^52.
    """
    if -1e9 < value < 1e9:
        return ((value * 1e6 + TO_WHOLE) - TO_WHOLE) / 1e6 == value
    return value == round(value, DECIMALS)


def number(value: Any) -> int | float | None:
    """A number of the schema out of a number or its text; None for anything else."""
    kind = type(value)
    if kind is int:
        return value if -LIMIT <= value <= LIMIT else None
    if kind is float:
        return round(value, DECIMALS) if -LIMIT <= value <= LIMIT else None
    if kind is str:
        plain = value.strip()
        if not _NUMERIC.fullmatch(plain):
            return None
        return number(int(plain) if plain.lstrip("+-").isdigit() else float(plain))
    return None
