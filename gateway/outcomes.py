"""The closed list of ways an event may end for a destination (design §7), and the verdicts that lead there.

Every (event, destination) has exactly one outcome, recorded in the transaction that settles it; until then it is queued.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How an event ended for one destination; DUPLICATE is an outcome at the source, before fan-out."""

    __hash__ = str.__hash__  # the one of Enum is a Python function, and these are keys on every way

    DELIVERED = "delivered"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"
    ERASED = "erased"
    DUPLICATE = "duplicate"


class Receipt(StrEnum):
    """What became of one accepted event at its source; each of them is answered as success."""

    LOGGED = "logged"
    SAME = "same"
    CONFLICT = "conflict"


SKIP_REASONS = ("disabled", "bot", "loop", "consent", "filter", "share", "mode", "unmapped", "incomplete")
"""In the order in which they are decided."""
EXPIRED_REASONS = ("age", "retention", "space")
FAILURE_REASONS = (
    "vendor_4xx", "vendor_code", "auth", "rate", "vendor_5xx", "timeout", "connect", "tls", "dns", "mapping", "too_large",
)  # fmt: skip
DUPLICATE_REASONS = ("same", "conflict")

REASONS: dict[Outcome, tuple[str, ...]] = {
    Outcome.DELIVERED: ("",),
    Outcome.SKIPPED: SKIP_REASONS,
    Outcome.EXPIRED: EXPIRED_REASONS,
    Outcome.REJECTED: FAILURE_REASONS,
    Outcome.DEAD: FAILURE_REASONS,
    Outcome.WITHDRAWN: ("",),
    Outcome.ERASED: ("",),
    Outcome.DUPLICATE: DUPLICATE_REASONS,
}
"""The closed reasons of each outcome; a reason outside this table is a programming error."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An outcome with its closed reason, and the vendor's or our own words kept beside (never in a label).

    >>> Ending(Outcome.SKIPPED, "consent", "ad_storage is denied (event)")
    """

    outcome: Outcome
    reason: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.reason not in REASONS[self.outcome]:
            raise ValueError(f"{self.outcome} has no reason {self.reason!r}")

    @property
    def code(self) -> int:
        """A small stable number for the store: see CODES."""
        return CODES[(self.outcome, self.reason)]

    @property
    def keeps_event(self) -> bool:
        """Whether a copy of the event is kept with the dead letters, from where it can be replayed (design §7)."""
        return (
            self.outcome in (Outcome.REJECTED, Outcome.DEAD)
            or (self.outcome is Outcome.DUPLICATE and self.reason == "conflict")
            or (self.outcome is Outcome.SKIPPED and self.reason == "incomplete")
        )

    def __str__(self) -> str:
        return f"{self.outcome}{{{self.reason}}}" if self.reason else str(self.outcome)


CODES: dict[tuple[Outcome, str], int] = {
    (outcome, reason): 16 * (1 + list(Outcome).index(outcome)) + reasons.index(reason)
    for outcome, reasons in REASONS.items()
    for reason in reasons
}
"""(outcome, reason) → number kept in the store. Append to the enums above, never insert: stored numbers stay valid."""
ENDINGS: dict[int, tuple[Outcome, str]] = {code: pair for pair, code in CODES.items()}

SEVERITY = (
    Outcome.DELIVERED,
    Outcome.SKIPPED,
    Outcome.EXPIRED,
    Outcome.WITHDRAWN,
    Outcome.ERASED,
    Outcome.REJECTED,
    Outcome.DEAD,
)
"""From best to worst."""


def worst(a: Ending | None, b: Ending | None) -> Ending | None:
    """The worse of two parts' endings: an event's outcome is the worst of its parts' (design §6)."""
    if a is None or b is None:
        return a or b
    return max(a, b, key=lambda ending: SEVERITY.index(ending.outcome))
