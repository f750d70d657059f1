"""What the far end counted: a figure is believed when the sink has got exactly what was sent, of every vendor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

VENDORS = ("meta", "ga4", "tiktok")
DRAIN_SECONDS = 120


class Miscounted(SystemExit):
    """The sink did not count what was sent: the run ends, its figures say nothing."""


def settle(
    name: str,
    counts: Callable[[], Mapping[str, int]],
    before: Mapping[str, int],
    sent: int,
    idle: Callable[[], bool],
    patience: float = DRAIN_SECONDS,
    pause: float = 0.1,
) -> None:
    """Wait until each vendor has `sent` more events than `before` and the sender is idle.

    Looks once more after a pause, for what is sent twice. Raises Miscounted when a vendor has more or, after `patience`
    seconds, less.
    """

    def got() -> dict[str, int]:
        now = counts()
        return {vendor: now.get(vendor, 0) - before.get(vendor, 0) for vendor in VENDORS}

    deadline = time.monotonic() + patience
    while not (all(n >= sent for n in got().values()) and idle()) and time.monotonic() < deadline:
        time.sleep(pause)
    time.sleep(pause)
    found = got()
    if any(n != sent for n in found.values()):
        raise Miscounted(f"{name}: {sent} sent, the sink counted {found}")
