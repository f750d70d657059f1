"""What the stages report while they work. The base class counts nothing; observe/metrics.py feeds Prometheus.

Every label is a configured name or a word of a closed list; event names are `gateway.event.label`s.
"""

from __future__ import annotations


class Meter:
    """Counts nothing: for tests and for commands that serve nobody."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """One answered HTTP request of the public listener; `route` is a template, never a path as it came."""

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
