"""How large a run is: a few minutes in `make test`, the stated figures in `make faults` (TAGWAY_FULL=1)."""

from __future__ import annotations

import os

FULL = os.environ.get("TAGWAY_FULL") == "1"


def pick(short: int, full: int) -> int:
    """The figure of this run. TAGWAY_SCALE (0…1) makes a full run smaller, where a machine has no hours to spare."""
    if not FULL:
        return short
    return max(short, round(full * float(os.environ.get("TAGWAY_SCALE", "1"))))


def rate(short: int, full: int) -> int:
    """Hits a second of this run: TAGWAY_SCALE makes it shorter, not easier."""
    return full if FULL else short
