"""What the stages report while they work. The base class counts nothing; observe/metrics.py feeds Prometheus.

Every label is a configured name or a word of a closed list; event names are `gateway.event.label`s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""The bounds by which the time of requests is told."""


class Durations:
    """How many times, in seconds, lay up to each bound (the last count: beyond all), and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def add(self, other: Durations) -> None:
        """Those of another with the same bounds."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class Meter:
    """Counts nothing: for tests and for commands that serve nobody."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """One answered HTTP request of the public listener; `route` is a template, never a path as it came."""

    def requests(self, counts: Mapping[tuple[str, int], int], durations: Durations) -> None:
        """Requests by (route, status), and their times by REQUEST_SECONDS, as another process has added them up."""

    def received(self, source: str, dialect: str, events: int) -> None:
        """Events decoded from a hit, before de-duplication."""

    def refused(self, route: str, reason: str, events: int = 1) -> None:
        """Hits or events not taken; `reason` is an errors.RefusedReason."""

    def ignored(self, source: str, route: str, reason: str) -> None:
        """A hit that makes no event: answered, nothing stored.

        `reason` is `prefetch` (a browser fetched ahead of a visit) or `no_event` (a topic that is none, an order that is not
        paid yet).
        """

    def dropped(self, source: str, field: str) -> None:
        """A value of a hit that could not be used; `field` is a name of the event schema."""

    def delivery(self, destination: str, seconds: float) -> None:
        """One request to a vendor."""

    def lane_state(self, destination: str, state: str) -> None:
        """A lane is now running, paused, open (breaker), parked or off."""

    def mapping_null(self, destination: str, field: str) -> None:
        """A function of a mapping could not do its work and gave null."""

    def validation(self, destination: str, messages: int) -> None:
        """One event was checked by the vendor's validation endpoint, which had this many messages."""

    def delivered(self, destination: str, at: float) -> None:
        """A vendor took events at this wall time (the newest counts)."""
