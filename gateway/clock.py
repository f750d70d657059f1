"""The one source of time. Stored times are wall time, waits run on the monotonic clock.

`TAGWAY_NOW=<RFC 3339>` freezes the wall clock for tests; with it the process refuses a non-loopback listener
(`Clock.frozen` tells). A frozen clock still has a running monotonic side, so that timers and time-outs work.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import lru_cache

STEP_SECONDS = 5.0
"""A difference between the clocks above this is a step of the wall clock, not drift."""


class Clock:
    """Wall and monotonic time.

    >>> clock = Clock.from_environment()
    >>> clock.now()          # wall time, float seconds since the epoch
    >>> clock.monotonic()    # for waits and time-outs only
    """

    frozen = False

    def __init__(self) -> None:
        self._offset = self.now() - self.monotonic()

    @classmethod
    def from_environment(cls) -> Clock:
        """A frozen clock if TAGWAY_NOW is set, else the real one. Raises ValueError for an unreadable time."""
        frozen = os.environ.get("TAGWAY_NOW")
        return FrozenClock(parse_instant(frozen)) if frozen else cls()

    def now(self) -> float:
        """Wall time in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()

    def step(self) -> float:
        """Seconds by which the wall clock stepped since the last call; 0.0 while it only drifts."""
        offset = self.now() - self.monotonic()
        moved, self._offset = offset - self._offset, offset
        return moved if abs(moved) > STEP_SECONDS else 0.0


class FrozenClock(Clock):
    """A wall clock that stands still until it is moved; the monotonic side is moved along with it."""

    frozen = True

    def __init__(self, now: float) -> None:
        self._now = now
        self._ahead = 0.0
        super().__init__()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move both clocks on, as waiting would."""
        self._now += seconds
        self._ahead += seconds

    def step_wall(self, seconds: float) -> None:
        """Move only the wall clock, as an administrator or NTP would."""
        self._now += seconds

    def step(self) -> float:
        return 0.0


def parse_instant(text: str) -> float:
    """RFC 3339 text to epoch seconds; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso(seconds: float) -> str:
    """Epoch seconds to the form all our events carry: `2026-11-24T10:00:00.000Z`."""
    whole, ms = divmod(round(seconds * 1000), 1000)
    return f"{_to_the_second(whole)}.{ms:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds")[:-6]
