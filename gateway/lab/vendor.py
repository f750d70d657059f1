"""What an emulator is: it takes a call and gives an answer, and says of each event whether the platform would have it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson

Mode = Literal["500", "429", "hang", "reset", "401"]
MODES: tuple[Mode, ...] = ("500", "429", "hang", "reset", "401")
"""Ways for a vendor to be down: errors, throttling, silence, a cut connection, a dead token."""
RETRY_AFTER = "2"
DEDUP_SECONDS = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request; `path` is what follows the vendor's base, header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: float


@dataclass(frozen=True, slots=True)
class Noted:
    """One event of a call: whether the platform would take it and, if not, why.

    `duplicate`: it has the name and id of one taken within 48 h, so the platform counts it once. `notes` are things that
    it would take silently but differently (cut, ignored).
    """

    name: str
    id: str
    accepted: bool
    reason: str
    payload: Any
    duplicate: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor says, and what it made of the events."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    noted: tuple[Noted, ...] = ()


def json_answer(
    value: Any, status: int = 200, *, noted: tuple[Noted, ...] = (), headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, orjson.dumps(value), noted=noted, headers=headers or {})


class Vendor(Protocol):
    """An emulator. It remembers ids for 48 h and nothing else."""

    name: str

    def answer(self, call: Call) -> Answer:
        """What the platform says to a call."""

    def outage(self, mode: Mode) -> Answer:
        """What the platform says while it is down (`500`, `429`) or the token is dead (`401`)."""


class Seen:
    """The ids of the last 48 h, at most `limit` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def again(self, key: Hashable, now: float) -> bool:
        """Whether this key came within 48 h; the first one is remembered."""
        first = self._seen.get(key)
        if first is not None and now - first < DEDUP_SECONDS:
            return True
        self._seen[key] = now
        self._seen.move_to_end(key)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return False


def parse(body: bytes) -> Any:
    """JSON, or None."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def text_of(event: Any, key: str) -> str:
    """A field of an event for the inbox, whatever it is."""
    value = event.get(key) if isinstance(event, dict) else None
    return value if isinstance(value, str) else "" if value is None else str(value)
