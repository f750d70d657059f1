"""When a lane may send, and how much at once: breaker, pause, climbing concurrency and the hold of a vendor's 429.

The courier reports what each request showed; the lane asks `running`, `limit` and the waits. A change of state is logged
once and reported to the meter. Times of waits are monotonic, those that are shown or stored are wall time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Literal

from gateway.clock import Clock
from gateway.deliver.breaker import Breaker
from gateway.deliver.limits import Concurrency
from gateway.deliver.pause import Key, Pause
from gateway.deliver.retry import LONGEST, Stoppages
from gateway.meter import Meter

log = logging.getLogger(__name__)

State = Literal["running", "open", "paused", "off", "parked"]
THROTTLES = 3
"""429s in a row, with nothing else between, until the whole lane waits."""


class Circuit:
    """The state of one lane. `changed` is called after each change of it."""

    def __init__(self, lane: str, concurrency: int, meter: Meter, clock: Clock, resting: State = "running") -> None:
        self._lane, self._meter, self._clock, self._resting = lane, meter, clock, resting
        self.breaker, self.pause = Breaker(), Pause()
        self.concurrency = Concurrency(concurrency)
        self.stoppages = Stoppages(clock.now())
        self.changed: Callable[[], None] = lambda: None
        self.state: State = resting
        self.since = clock.now()
        self.reason = ""
        self._throttles, self._hold = 0, 0.0

    @property
    def running(self) -> bool:
        """Whether ordinary requests may begin; otherwise only probes."""
        return not self.breaker.open and not self.pause.paused

    @property
    def limit(self) -> int:
        """How many requests may be in flight now; one at a time after a first refusal."""
        return 1 if self.pause.wary else self.concurrency.limit

    def announce(self) -> None:
        """Tell the meter where the lane starts."""
        self._meter.lane_state(self._lane, self.state)

    def alive(self) -> None:
        """The vendor judged a request."""
        self._throttles = 0
        if self.breaker.success():
            self.concurrency.restart()
            self._update()
        else:
            self.concurrency.success()

    def delivered(self) -> None:
        """The vendor took something: whatever it refused is not refused for who we are."""
        if self.pause.success():
            self.concurrency.restart()
            self._update()

    def failed(self, why: str) -> None:
        """A request failed as a whole."""
        if self.breaker.failure(self._clock.monotonic()):
            self._update(f"{self.breaker.failures} requests in a row failed", why)

    def refused(self, keys: Collection[Key], why: str) -> None:
        """The vendor refused a batch for who we are."""
        if self.pause.refused(keys, why, self._clock.monotonic()):
            self._update("the vendor refuses our credentials or version", why)

    def throttled(self, retry_after: float | None) -> None:
        """The vendor said 429: half as much at once, and after three in a row the whole lane waits."""
        self.concurrency.throttled()
        self._throttles += 1
        if self._throttles >= THROTTLES:
            asked = 2.0 ** min(self._throttles - THROTTLES, 6) if retry_after is None else retry_after
            self._hold = max(self._hold, self._clock.monotonic() + min(LONGEST, asked))

    def hold_in(self, now: float) -> float:
        """Seconds for which the vendor wants no request."""
        return max(0.0, self._hold - now)

    def probe_in(self, now: float) -> float:
        """Seconds until a probe may go; of two reasons to wait the longer one counts."""
        pause = self.pause.probe_in(now) if self.pause.paused else 0.0
        return max(pause, self.breaker.probe_in(now) if self.breaker.open else 0.0)

    def probing(self) -> None:
        """A probe goes now."""
        now = self._clock.monotonic()
        self.breaker.probing(now)
        self.pause.probing(now)

    def _update(self, reason: str = "", words: str = "") -> None:
        """`words` are the vendor's own: shown with the lane, but kept out of the log, as they may quote an event."""
        now = self._clock.now()
        before, self.state = self.state, self._resting
        if self.pause.paused:
            self.state = "paused"
        elif self.breaker.open:
            self.state = "open"
        if self.state == before:
            return
        self.since, self.reason = now, f"{reason}: {words}" if words else reason
        self._log(before, reason)
        if self.running:
            self.stoppages.end(now)
        else:
            self.stoppages.begin(now)
        self._meter.lane_state(self._lane, self.state)
        self.changed()

    def _log(self, before: State, reason: str) -> None:
        level = logging.INFO if self.running else logging.WARNING
        words = {"paused": "Lane paused", "open": "Lane opened its breaker"}.get(self.state, "Lane resumed")
        log.log(level, words, extra={"destination": self._lane, "state": self.state, "was": before, "reason": reason})
