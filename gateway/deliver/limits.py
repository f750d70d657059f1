"""How fast, how many and how old: what the manifest and the customer's file allow a lane, and the two regulators.

`Rate` is a token bucket over requests. `Concurrency` climbs from one request at a time, by one for each round of requests
that went well, and is halved by a 429; so a lane that starts, or that comes back after an outage, feels its way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config.models import DestinationConfig
from gateway.manifest import Manifest

AGE_MARGIN = 60.0
"""An event is expired this much before the vendor's limit, so that it is not while it travels."""
MAX_HELD = 2000
"""Events a lane holds in memory at most."""
MAX_HELD_BYTES = 16 * 2**20
DEFAULT_BYTES = 2**20
DEFAULT_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a lane. `max_age` is what an event may have reached, margin taken off; None where there is no limit."""

    max_events: int
    max_bytes: int
    max_wait: float
    max_age: float | None
    rps: float | None
    concurrency: int

    @property
    def held(self) -> int:
        """How many events the lane may hold: enough to keep every request full, and no more than memory allows."""
        return max(64, min(MAX_HELD, 2 * self.max_events * self.concurrency))


def bounds_of(manifest: Manifest, config: DestinationConfig) -> Bounds:
    """The customer's file narrows the manifest; only `max_age: off` widens it."""
    events = _least((manifest.batch.max_events or 1, config.batch.max_events)) or 1
    wait_ms = _least((manifest.batch.max_wait_ms, config.batch.max_wait_ms))
    age = config.limits.oldest(manifest.limits.max_age)
    return Bounds(
        max_events=int(events),
        max_bytes=int(_least((manifest.batch.max_bytes, config.batch.max_bytes)) or DEFAULT_BYTES),
        max_wait=(DEFAULT_WAIT_MS if wait_ms is None else wait_ms) / 1000 if events > 1 else 0.0,
        max_age=None if age == math.inf else age - min(AGE_MARGIN, age * 0.01),
        rps=_least((manifest.limits.rps, config.limits.rps)),
        concurrency=int(_least((manifest.limits.concurrency, config.limits.concurrency)) or 1),
    )


def _least(values: Iterable[float | None]) -> float | None:
    """The smallest that is given."""
    return min((value for value in values if value is not None), default=None)


class Rate:
    """A token bucket: `rps` requests a second with a burst of a tenth of a second's worth; None lets everything pass."""

    def __init__(self, rps: float | None, now: float) -> None:
        self._rps = rps
        self._burst = max(1.0, (rps or 0.0) / 10)
        self._tokens, self._at = 1.0, now

    def take(self, now: float) -> float:
        """0.0 and a token is gone, or the seconds until there is one."""
        if self._rps is None:
            return 0.0
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rps)
        self._at = now
        if self._tokens > 1.0 - 1e-6:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rps


class Concurrency:
    """How many requests may be in flight: additive increase, multiplicative decrease."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = 1
        self._good = 0

    def success(self) -> None:
        """A request went well; a whole round of them raises the limit by one."""
        self._good += 1
        if self._good >= self.limit and self.limit < self.most:
            self.limit, self._good = self.limit + 1, 0

    def throttled(self) -> None:
        """The vendor said 429."""
        self.limit, self._good = max(1, self.limit // 2), 0

    def restart(self) -> None:
        """Climb from one again."""
        self.limit, self._good = 1, 0
