"""Forgetting ids: purge of the de-dup table, in the background and in slices (design §3: at least 48 h).

The table has no index by time, which would cost every hit. The purge walks it in key order, a slice at a time, and begins
again after a pause.
"""

from __future__ import annotations

from gateway.queue.stage import Stage

SLICE = 2000
Place = tuple[int, str, str]
START: Place = (-1, "", "")
_SLICE = "select source, id, name, at from seen where (source, id, name) > (?, ?, ?) order by source, id, name limit ?"


def purge(stage: Stage, after: Place, age: float, limit: int = SLICE) -> Place | None:
    """Forget ids of a slice that are older than an age; returns where to go on, None at the end of the table."""
    before = stage.now - age
    rows = stage.db.all(_SLICE, (*after, limit))
    old = [row[:3] for row in rows if row[3] < before]
    if old:
        stage.db.executemany("delete from seen where source=? and id=? and name=?", old)
    return (rows[-1][0], rows[-1][1], rows[-1][2]) if len(rows) == limit else None
