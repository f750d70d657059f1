"""A store that has already remembered many ids: what de-duplication costs depends on how many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from gateway.clock import Clock
from gateway.event import uuid7
from gateway.queue.core import Core

GROUP = 50_000
_SEEN = "insert into seen(source, id, name, digest, at, number) values(?, ?, 'purchase', ?, ?, 0)"


def prefill(folder: Path, ids: int, source: str = "shop") -> None:
    """Make a store in `folder` whose table of ids holds `ids` rows, with time-ordered ids of the last day."""
    folder.mkdir(parents=True, exist_ok=True)
    core = Core(folder / "tagway.db", Clock(), synchronous="off")
    try:
        number = core.run(lambda stage: stage.source_id(source))
        for at in range(0, ids, GROUP):
            rows = list(_rows(number, at, min(GROUP, ids - at), ids))
            core.run(lambda stage, rows=rows: stage.db.executemany(_SEEN, rows))  # type: ignore[misc]
        core.db.execute("pragma wal_checkpoint(truncate)").fetchall()
    finally:
        core.close()


def _rows(source: int, first: int, count: int, total: int) -> Iterator[tuple[int, str, bytes, float]]:
    start = time.time() - 86400
    for number in range(first, first + count):
        at = start + 86000 * number / total
        yield source, uuid7(at), number.to_bytes(8, "big"), at
