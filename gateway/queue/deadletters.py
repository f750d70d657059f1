"""Dead letters: finding, dropping and ageing the kept copies (queueing them again: requeue.py)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.outcomes import CODES
from gateway.queue.base import DeadFilter, DeadLetter
from gateway.queue.memory import Memory
from gateway.queue.schema import weight
from gateway.queue.settle import ending_of
from gateway.queue.stage import Stage

_COLUMNS = "id, lane, source, number, event_id, label, code, detail, tries, first_at, at, body"


def matching(connection: sqlite3.Connection, memory: Memory, where: DeadFilter) -> list[int]:
    """Ids of the letters a filter means, newest first."""
    condition, params = _condition(memory, where)
    sql = f"select id from dead where {condition} order by id desc limit ?"
    return [id_ for (id_,) in connection.execute(sql, (*params, where.limit))]


def read(connection: sqlite3.Connection, memory: Memory, where: DeadFilter) -> list[DeadLetter]:
    """The letters a filter means, newest first."""
    condition, params = _condition(memory, where)
    sql = f"select {_COLUMNS} from dead where {condition} order by id desc limit ?"
    rows = connection.execute(sql, (*params, where.limit)).fetchall()
    return [letter for row in rows if (letter := _letter(memory, row)) is not None]


def _letter(memory: Memory, row: tuple[Any, ...]) -> DeadLetter | None:
    id_, lane, source, number, event_id, label, code, detail, tries, first_at, at, body = row
    ending = ending_of(code, detail)
    if ending is None or source not in memory.sources:
        return None
    lane_name = memory.lanes[lane].name if lane in memory.lanes else ""
    name = memory.sources[source].name
    return DeadLetter(id_, lane_name, name, number, event_id, label, ending, tries, first_at, at, body)


def _condition(memory: Memory, where: DeadFilter) -> tuple[str, list[Any]]:
    terms = ["1"]
    params: list[Any] = []
    if where.ids:
        terms.append(f"id in ({','.join('?' * len(where.ids))})")
        params += where.ids
    if where.lane is not None:
        terms.append("lane = ?")
        params.append(memory.lane_ids.get(where.lane, 0 if where.lane == "" else -1))
    if where.source is not None:
        terms.append("source = ?")
        params.append(memory.source_ids.get(where.source, -1))
    if where.outcome is not None or where.reason is not None:
        codes = [c for (o, r), c in CODES.items() if where.outcome in (None, str(o)) and where.reason in (None, r)]
        terms.append(f"code in ({','.join('?' * len(codes))})")
        params += codes
    for column, value in (("event_id = ?", where.event_id), ("at >= ?", where.since), ("at <= ?", where.until)):
        if value is not None:
            terms.append(column)
            params.append(value)
    return " and ".join(terms), params


def drop(stage: Stage, ids: Sequence[int]) -> int:
    """Delete kept copies; the outcomes stay as counted. Returns how many there were."""
    dropped = 0
    for id_ in ids:
        row = stage.db.one("select source, event_id, length(body) from dead where id=?", (id_,))
        if row is not None:
            stage.db.execute("delete from dead where id=?", (id_,))
            stage.source(row[0]).bytes -= weight(row[1], b"") + row[2]
            dropped += 1
    return dropped


def forget(stage: Stage, before: float, over: int, limit: int) -> int:
    """Drop the oldest letters that are older than a time, and more until `over` bytes are free; returns how many."""
    rows = stage.db.all("select id, at, event_id, length(body) from dead order by id limit ?", (limit,))
    ids, freed = [], 0
    for id_, at, event_id, length in rows:
        if at >= before and freed >= over:
            break
        ids.append(id_)
        freed += weight(event_id, b"") + length
    return drop(stage, ids)
