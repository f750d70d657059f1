"""When Python collects garbage: rarely, and never what the start has made. For each process that takes hits."""

from __future__ import annotations

import gc

COLLECT_EVERY = (50_000, 20, 50)
"""Thresholds of the garbage collector: a hit leaves nearly nothing that counting references does not free at once."""


def rest_collector() -> None:
    """Leave what was made at the start out of every later collection, and collect more rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
