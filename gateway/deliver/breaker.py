"""The circuit breaker of a lane: a vendor that fails five times in a row is left alone but for one probe every 30 s.

A failure is a request that ended in a network error or 5xx with all its parts; a quick second try of the same batch is not
counted again. Any judgement by the vendor (delivered, rejected, split) is a sign of life. 429 is neither.
"""

from __future__ import annotations

FAILURES = 5
PROBE_SECONDS = 30.0


class Breaker:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self.failures = 0
        self.open = False
        self._next = 0.0

    def failure(self, now: float) -> bool:
        """Note a failed request; True when this one opened the breaker."""
        self.failures += 1
        if self.open or self.failures < FAILURES:
            return False
        self.open, self._next = True, now + PROBE_SECONDS
        return True

    def success(self) -> bool:
        """Note a sign of life; True when it closed the breaker."""
        was, self.open, self.failures = self.open, False, 0
        return was

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may go."""
        return max(0.0, self._next - now)

    def probing(self, now: float) -> None:
        """A probe goes now."""
        self._next = now + PROBE_SECONDS
