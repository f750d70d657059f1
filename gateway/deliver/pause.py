"""The pause of a lane: a vendor that refuses us (dead token, retired version) gets no more events until that is mended.

One refused batch proves little: a single event may be what is not allowed. Two refused batches without an event in common
and with no success between them prove that it is us. So after the first one its events wait and one request at a time
goes out; if others pass, the refused events come back, a batch of them is split, and one that is refused alone is
`rejected{auth}`. A paused lane keeps its events and lets one through every 5 minutes and at once after a reload.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

PROBE_SECONDS = 300.0
MAX_SUSPECTS = 10_000

Key = tuple[str, int]
"""An event: its source and sequence number."""


class Pause:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self.paused = False
        self.why = ""
        self._refused: frozenset[Key] | None = None
        self._suspects: OrderedDict[Key, int] = OrderedDict()
        self._successes = 0
        self._next = 0.0

    @property
    def wary(self) -> bool:
        """Whether a batch was refused and nothing has passed since."""
        return self._refused is not None

    def refused(self, keys: Collection[Key], why: str, now: float) -> bool:
        """Note a refused batch; True when this one paused the lane."""
        for key in keys:
            self._suspects.setdefault(key, self._successes)
        while len(self._suspects) > MAX_SUSPECTS:
            self._suspects.popitem(last=False)
        if self.paused:
            return False
        if self._refused is None or not self._refused.isdisjoint(keys):
            self._refused = frozenset(keys) if self._refused is None else self._refused
            return False
        self.paused, self.why, self._next = True, why, now + PROBE_SECONDS
        return True

    def singular(self, keys: Collection[Key]) -> bool:
        """Whether one of these was refused before and others have passed since: then it is the event, not us."""
        return not self.paused and any(self._suspects.get(key, self._successes) < self._successes for key in keys)

    def success(self) -> bool:
        """Note that the vendor took something; True when it ended the pause."""
        was, self.paused, self.why = self.paused, False, ""
        self._refused = None
        self._successes += 1
        return was

    def settled(self, key: Key) -> None:
        """An event has its outcome and is no suspect any more."""
        self._suspects.pop(key, None)

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may go."""
        return max(0.0, self._next - now)

    def probing(self, now: float) -> None:
        """A probe goes now."""
        self._next = now + PROBE_SECONDS

    def probe_now(self) -> None:
        """Let a probe go at once."""
        self._next = 0.0
