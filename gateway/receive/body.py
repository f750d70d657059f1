"""What every JSON dialect checks before it looks at an event: readable, not too many, none too large.

Bodies arrive decoded (gzip and friends) and within the body limit. Depth and number of keys are the business of
`gateway.normalise`, which sees every dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.errors import Malformed, TooLarge

MAX_EVENT_BYTES = 64 * 1024
"""An event as compact JSON."""
MAX_EVENTS = 2500
"""Events of one hit."""
MAX_NAME = 200
"""Characters of an event name."""


def parse(body: bytes) -> Any:
    """The JSON value of a body, whatever its Content-Type says. Raises Malformed.

    Strict JSON: NaN, lone surrogates, a byte order mark and broken UTF-8 are refused; of duplicate keys the last wins.
    """
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        raise Malformed("the body is not JSON") from None


def check_count(entries: Sequence[object]) -> None:
    """Raises TooLarge for a hit of too many events."""
    if len(entries) > MAX_EVENTS:
        raise TooLarge(f"more than {MAX_EVENTS} events in one hit")


def too_large(entry: object, body: bytes) -> bool:
    """Whether one event of a body is over the limit; events are measured only where the body could hold such a one."""
    if len(body) <= MAX_EVENT_BYTES:
        return False
    try:
        return len(orjson.dumps(entry)) > MAX_EVENT_BYTES
    except (orjson.JSONEncodeError, RecursionError):
        return True


def event_name(value: object) -> str:
    """A name as it came but for blanks around it. Raises Malformed for what is no name."""
    if not isinstance(value, str):
        raise Malformed("the event name must be text")
    name = value.strip()
    if not name:
        raise Malformed("the event name is missing")
    if len(name) > MAX_NAME:
        raise Malformed(f"the event name is longer than {MAX_NAME} characters")
    return name
