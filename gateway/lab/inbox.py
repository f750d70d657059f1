"""What arrived at the vendors: the last events and requests of each, and a live stream of them. Bounded on every side."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from gateway.clock import iso

KEPT = 1000
"""Events, and requests, kept per vendor."""
KEPT_BODY = 4096
WAITING = 1000
"""Entries that wait for one reader of the stream; a reader that is slower misses the oldest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event at a vendor. `reason` says why it was not accepted; see vendor.Noted for the rest."""

    at: float
    vendor: str
    name: str
    id: str
    accepted: bool
    reason: str
    payload: Any
    duplicate: bool = False
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the HTTP interface gives it."""
        return {**asdict(self), "at": iso(self.at)}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request at a vendor: at most 4 KiB of its body; `status` 0 for one that was left hanging or cut off."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    status: int
    events: int


class Inbox:
    """Of one lab."""

    def __init__(self, vendors: tuple[str, ...]) -> None:
        self.entries: dict[str, deque[Entry]] = {name: deque(maxlen=KEPT) for name in vendors}
        self.requests: dict[str, deque[Seen]] = {name: deque(maxlen=KEPT) for name in vendors}
        self._readers: set[asyncio.Queue[Entry]] = set()

    def add(self, entry: Entry) -> None:
        """Keep an event and show it to whoever is watching."""
        self.entries[entry.vendor].append(entry)
        for reader in self._readers:
            if reader.full():
                reader.get_nowait()
            reader.put_nowait(entry)

    def clear(self) -> None:
        """Forget everything that arrived."""
        for vendor in self.entries:
            self.entries[vendor].clear()
            self.requests[vendor].clear()

    @contextmanager
    def reading(self) -> Iterator[asyncio.Queue[Entry]]:
        """A queue of what arrives from now on."""
        reader: asyncio.Queue[Entry] = asyncio.Queue(WAITING)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
