"""Retention: what leaves by age and by bytes, and with which outcome (design §6).

By age: the oldest events of each source (its log is in the order of arrival; an event leaves when it and all before it are old
enough), copies in retry rows by the time they were made, dead letters by the time they died. By bytes, in this order: events
that every lane has settled, dead letters, events that are still queued, oldest first. Before a row leaves, each lane that has
not settled it settles it as expired. Each call does a small piece in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.outcomes import CODES, Outcome
from gateway.queue import deadletters
from gateway.queue.core import Limits
from gateway.queue.memory import first_in_log
from gateway.queue.schema import MASK, row_id, weight
from gateway.queue.settle import remove_waiting
from gateway.queue.stage import Stage

SLICE = 300
_ROWS = "select id, received, label, event_id, length(body) from log where id >= ? and id <= ? order by id limit ?"
_WAITING = "select id from retry where lane=? and id between ? and ? and body is null"
_COPIES = """select lane, source, id, label, event_id, length(body) from retry where body is not null {}
    order by since limit ?"""
Row = tuple[int, float, str, str, int]
"""(row id, received, label, event id, length of the body)"""


def by_age(stage: Stage, limits: Limits) -> int:
    """Expire what is too old; returns how many rows left."""
    before = stage.now - limits.age
    left = 0
    for source in list(stage.memory.sources):
        rows = _rows(stage, source, stage.source(source).floor)
        old = []
        for row in rows:
            if row[1] >= before:
                break
            old.append(row)
        leave(stage, source, old, "retention")
        left += len(old)
        if left >= SLICE:
            return left
    left += _copies(stage, "and since < ?", (before,), "retention")
    return left + deadletters.forget(stage, before, 0, SLICE)


def by_space(stage: Stage, limits: Limits, scanned: dict[int, int]) -> int:
    """Make room when over the byte limit; returns how many rows left or were looked at.

    `scanned` keeps, per source, how far a pass has looked for settled events; give the same one until 0 comes back.
    """
    over = sum(stage.source(source).bytes for source in list(stage.memory.sources)) - limits.bytes
    if over <= 0:
        return 0
    looked = _settled_first(stage, over, scanned)
    if looked:
        return looked
    return deadletters.forget(stage, 0.0, over, SLICE) or _queued_last(stage, over)


def _settled_first(stage: Stage, over: int, scanned: dict[int, int]) -> int:
    for source in list(stage.memory.sources):
        state = stage.source(source)
        lo = max(scanned.get(source, 0), state.floor)
        hi = _may_be_settled_below(stage, source)
        if lo >= hi:
            continue
        rows = _rows(stage, source, lo, hi - 1)
        scanned[source] = (rows[-1][0] & MASK) + 1 if rows else hi
        freed, settled = 0, []
        for row in settled_rows(stage, source, rows):
            if freed >= over:
                scanned[source] = row[0] & MASK
                break
            settled.append(row)
            freed += _weight(row)
        leave(stage, source, settled, "space")
        return len(rows) or 1
    return 0


def _may_be_settled_below(stage: Stage, source: int) -> int:
    """No number from here on is settled by all lanes."""
    ends = [stage.source(source).head + 1]
    for lane in stage.readers(source):
        position = stage.position(lane, source)
        ends.append(position.done.his[-1] + 1 if position.done.his else position.cursor)
    return min(ends)


def settled_rows(stage: Stage, source: int, rows: Sequence[Row]) -> list[Row]:
    """Those of the rows that no lane has still to deal with. A retry row with its own copy does not need the log."""
    if not rows:
        return []
    lo, hi = rows[0][0], rows[-1][0]
    needed: set[int] = set()
    for lane in stage.readers(source):
        position = stage.position(lane, source)
        if position.retrying:
            needed.update(id_ for (id_,) in stage.db.all(_WAITING, (lane, lo, hi)))
        needed.update(id_ for id_, *_ in rows if not position.covers(id_ & MASK))
    return [row for row in rows if row[0] not in needed]


def _queued_last(stage: Stage, over: int) -> int:
    """The oldest events that are still queued somewhere, then copies in retry rows."""
    freed, left = 0, 0
    heads: dict[int, list[Row]] = {}
    for source in list(stage.memory.sources):
        rows = _rows(stage, source, stage.source(source).floor)
        if rows:
            heads[source] = rows
    leaving: dict[int, list[Row]] = {source: [] for source in heads}
    while freed < over and any(heads.values()):
        source = min((s for s in heads if heads[s]), key=lambda s: (heads[s][0][1], s))
        row = heads[source].pop(0)
        leaving[source].append(row)
        freed, left = freed + _weight(row), left + 1
        if not heads[source]:
            break
    for source, rows in leaving.items():
        leave(stage, source, rows, "space")
    if left == 0:
        left = _copies(stage, "", (), "space", over)
    return left


def _copies(stage: Stage, condition: str, params: tuple[float, ...], reason: str, over: int | None = None) -> int:
    """Expire queued events that live only in their retry row."""
    code = CODES[(Outcome.EXPIRED, reason)]
    freed, left = 0, 0
    for lane, source, id_, label, event_id, length in stage.db.all(_COPIES.format(condition), (*params, SLICE)):
        if over is not None and freed >= over:
            break
        size = weight(event_id, b"") + length
        remove_waiting(stage, lane, source, id_ & MASK, size)
        stage.settled(lane, source, id_ & MASK, code)
        stage.count(lane, source, label, code)
        freed, left = freed + size, left + 1
    return left


def leave(stage: Stage, source: int, rows: Sequence[Row], reason: str) -> None:
    """Rows leave the log; each lane that has not settled one settles it as expired."""
    if not rows:
        return
    stage.write_runs()
    code = CODES[(Outcome.EXPIRED, reason)]
    for lane in stage.readers(source):
        _expire(stage, lane, source, rows, code)
    state = stage.source(source)
    remove(stage, source, rows)
    state.floor = first_in_log(stage.db.connection, state)
    for lane in stage.readers(source):
        _trim(stage, lane, source, state.floor)


def remove(stage: Stage, source: int, rows: Sequence[Row]) -> None:
    """Delete log rows and account for their bytes."""
    stage.db.executemany("delete from log where id=?", [(row[0],) for row in rows])
    stage.old_rows += [row[0] for row in rows]
    state = stage.source(source)
    state.bytes -= sum(map(_weight, rows))
    state.departed += len(rows)


def _expire(stage: Stage, lane: int, source: int, rows: Sequence[Row], code: int) -> None:
    position = stage.position(lane, source)
    waiting: set[int] = set()
    if position.retrying:
        waiting = {id_ for (id_,) in stage.db.all(_WAITING, (lane, rows[0][0], rows[-1][0]))}
    for id_, _, label, _, _ in rows:
        number = id_ & MASK
        if id_ in waiting:
            remove_waiting(stage, lane, source, number, 0)
        elif position.covers(number):
            continue
        stage.settled(lane, source, number, code)
        position.cover(number)
        stage.count(lane, source, label, code)


def _trim(stage: Stage, lane: int, source: int, floor: int) -> None:
    """Forget the codes of numbers whose rows are gone, and let the cursor pass them."""
    stage.write_runs()
    position = stage.position(lane, source)
    stage.db.execute("delete from run where lane=? and source=? and lo<? and hi<?", (lane, source, floor, floor))
    position.tail = None
    if position.cursor < floor:
        position.cursor = position.done.shift(floor)


def _rows(stage: Stage, source: int, lo: int, hi: int = MASK) -> list[Row]:
    return stage.db.all(_ROWS, (row_id(source, lo), row_id(source, hi), SLICE))


def _weight(row: Row) -> int:
    return weight(row[3], b"") + row[4]
