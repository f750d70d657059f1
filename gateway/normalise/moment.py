"""When an event happened: any way to write an instant, and what a wrong clock does to it.

- RFC 3339 text; a missing zone is UTC; a leap second is the second before. Numbers, and text of digits alone, are epoch
  seconds, milliseconds or microseconds by their size (seconds reach to the year 5138).
- Where the dialect has `sent_at` and it is more than 60 s off the time of receipt, the client's clock is wrong and the
  event happened `sent_at - time` before it was received. A `sent_at` before the event's own time says nothing.
- More than five minutes after receipt is no time of a visitor's clock: the event gets the time of receipt. So it does when it
  has no readable time. What a server key says stays as it was said; a vendor that takes no such time holds the event.
- History (`RawEvent.historic`) keeps the time it states; how old is too old, each destination decides.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from gateway.clock import iso, parse_instant
from gateway.receive.hit import RawEvent

SKEW_SECONDS = 60.0
FUTURE_SECONDS = 300.0
_SECONDS_END, _MILLIS_END, _MICROS_END = 1e11, 1e14, 1e17
_CANONICAL = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z")
_LATEST = 253402300799.0
"""9999-12-31T23:59:59Z"""


def instant(value: Any) -> float | None:
    """Epoch seconds, or None for what is no instant.

    >>> instant("2026-11-24T10:00:00+01:00"), instant(1795510800000), instant("soon")
    (1795510800.0, 1795510800.0, None)
    """
    if isinstance(value, str):
        plain = value.strip()
        if plain.isascii() and plain.isdigit():
            return _epoch(float(plain)) if len(plain) <= 17 else None
        return _rfc3339(plain.upper())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _epoch(value)
    return None


def _epoch(value: float) -> float | None:
    if not 0 <= value < _MICROS_END:
        return None
    if value < _SECONDS_END:
        return float(value)
    return value / (1e3 if value < _MILLIS_END else 1e6)


def _rfc3339(plain: str) -> float | None:
    if len(plain) > 40 or len(plain) < 8:
        return None
    try:
        return _within(parse_instant(plain))
    except (ValueError, OverflowError):
        if ":60" not in plain:
            return None
    try:
        return _within(parse_instant(plain.replace(":60", ":59", 1)))
    except (ValueError, OverflowError):
        return None


def _within(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _LATEST else None


def written(raw: RawEvent, received: float, *, server: bool = False) -> tuple[str, bool, bool]:
    """The time as the event carries it, whether a given one was unreadable, whether a readable one was replaced."""
    stated = raw.time
    as_it_is = type(stated) is str and _CANONICAL.fullmatch(stated) is not None
    if as_it_is and raw.sent_at is None and (server or stated < _surely_past(received)) and _is_date(stated):
        return stated, False, False
    seconds, unreadable, replaced = happened(raw, received, server=server)
    return stated if as_it_is and not (unreadable or replaced) else iso(seconds), unreadable, replaced


@lru_cache(maxsize=64)
def _surely_past(received: float) -> str:
    """A time written so that what sorts before it needs no look at the future; remembered for the events of a hit."""
    return iso(received + FUTURE_SECONDS - 1)


def _is_date(stated: str) -> bool:
    """Whether a time in the canonical form is one, of a year for which the seconds need no look at their bounds."""
    try:
        datetime.fromisoformat(stated)
    except ValueError:
        return False
    return "1970" < stated < "9999"


def happened(raw: RawEvent, received: float, *, server: bool = False) -> tuple[float, bool, bool]:
    """(epoch seconds, whether a given time was unreadable, whether a readable one was replaced)."""
    if raw.time is None or raw.time == "":
        return received, False, False
    stated = instant(raw.time)
    if stated is None:
        return received, True, False
    moment = stated
    if raw.sent_at is not None and not raw.historic:
        sent = instant(raw.sent_at)
        if sent is not None and sent >= stated and abs(sent - received) > SKEW_SECONDS:
            moment = max(received - (sent - stated), 0.0)
    if moment > received + FUTURE_SECONDS and not server:
        moment = received
    return moment, False, moment != stated
