"""What a lane says of itself: for the page, `/lanes` and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.clock import iso
from gateway.deliver.circuit import State


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane at this moment. Times are wall time; `totals` count since the lane object was made.

    `state` is running, open (breaker), paused, off or parked; `reason` says in words why it does not run; `held` is how
    many events it has in hand, `in_flight` how many requests are under way and `concurrency` how many may be.
    """

    name: str
    type: str
    mode: str
    state: State
    since: float
    reason: str = ""
    breaker: str = "closed"
    in_flight: int = 0
    held: int = 0
    concurrency: int = 0
    last_delivery: float | None = None
    last_failure: str = ""
    totals: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, times in RFC 3339."""
        return {
            "type": self.type,
            "mode": self.mode,
            "state": self.state,
            "since": iso(self.since),
            "reason": self.reason,
            "breaker": self.breaker,
            "in_flight": self.in_flight,
            "held": self.held,
            "concurrency": self.concurrency,
            "last_delivery": None if self.last_delivery is None else iso(self.last_delivery),
            "last_failure": self.last_failure,
            "totals": dict(self.totals),
        }
