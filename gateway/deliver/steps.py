"""Steps of the wall clock, as one lane sees them.

A lane's own waits (probes, batches, rate) run on the monotonic clock and are not touched. Retry rows carry wall time: a step
forward would make all of them due at once. So a row whose time lies inside the step keeps the wait it had left, spread a
little, instead of being sent. A step back would make all of them wait longer by it: the store moves them along.
"""

from __future__ import annotations

import logging
import random
from dataclasses import replace

from gateway.clock import STEP_SECONDS, Clock
from gateway.queue.base import RetryState

log = logging.getLogger(__name__)


class StepWatch:
    """Watches the clock for one lane; a frozen clock does not step."""

    def __init__(self, lane: str, clock: Clock, rng: random.Random) -> None:
        self._lane, self._clock, self._rng = lane, clock, rng
        self._offset = clock.now() - clock.monotonic()
        self._at = self._before = 0.0

    def look(self) -> float:
        """Note and log a step since the last look; returns the seconds of a step back, else 0.0."""
        if self._clock.frozen:
            return 0.0
        now = self._clock.now()
        offset = now - self._clock.monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) > STEP_SECONDS:
            log.warning("Wall clock stepped", extra={"destination": self._lane, "seconds": round(step, 1)})
            self._at, self._before = now, now - step
            return min(0.0, step)
        return 0.0

    def put_off(self, state: RetryState) -> RetryState | None:
        """The row of an event that only a step made due, with the wait it had left; None for any other."""
        if not self._before < state.due <= self._at:
            return None
        left = state.due - self._before
        due = self._at + left + self._rng.uniform(0, 0.1 * left)
        return replace(state, due=due) if due > self._clock.now() else None
