"""Firings: one row per request to a vendor, kept by age and bytes (design §7)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from gateway.queue.base import Firing
from gateway.queue.stage import Stage

ANSWER_BYTES = 2048
_INSERT = "insert into firing(lane, at, status, ms, request, answer, error, events) values(?, ?, ?, ?, ?, ?, ?, ?)"
_COLUMNS = "id, lane, at, status, ms, request, answer, error, events"
_SIZE = "length(request) + length(answer) + length(events) + 64"


def record(stage: Stage, firings: Sequence[Firing]) -> None:
    """Write the requests that led to a settlement."""
    if not firings:
        return
    rows = []
    for lane, at, status, ms, request, answer, events, error in firings:
        answer, told = answer[:ANSWER_BYTES], orjson.dumps(events).decode()
        rows.append((lane, at, status, ms, request, answer, error, told))
        stage.firing_bytes += len(request) + len(answer) + len(told) + 64
    stage.db.executemany(_INSERT, rows)


def forget(stage: Stage, before: float, most_bytes: int, limit: int) -> int:
    """Delete the oldest firings that are too old or too many; returns how many, at most `limit`."""
    over = stage.memory.firing_bytes + stage.firing_bytes - most_bytes
    rows = stage.db.all(f"select id, at, {_SIZE} from firing order by id limit ?", (limit,))
    freed, last, n = 0, 0, 0
    for id_, at, size in rows:
        if at >= before and freed >= over:
            break
        freed, last, n = freed + size, id_, n + 1
    if n:
        stage.db.execute("delete from firing where id<=?", (last,))
        stage.firing_bytes -= freed
    return n


def read(connection: sqlite3.Connection, lane: str | None, event_id: str | None, limit: int) -> list[Firing]:
    """Newest firings, of one lane or of one event; reads in pieces, so that no transaction lasts."""
    found: list[Firing] = []
    below = 1 << 62
    while len(found) < limit:
        sql = f"select {_COLUMNS} from firing where id < ? order by id desc limit 500"
        rows = connection.execute(sql, (below,)).fetchall()
        if not rows:
            break
        below = rows[-1][0]
        found += (firing for row in rows if (firing := _of(row, lane, event_id)) is not None)
    return found[:limit]


def _of(row: tuple[int, str, float, int, float, str, str, str, str], lane: str | None, event_id: str | None) -> Firing | None:
    _, of, at, status, ms, request, answer, error, events = row
    if lane is not None and of != lane:
        return None
    listed = tuple((source, number, id_) for source, number, id_ in orjson.loads(events))
    if event_id is not None and all(id_ != event_id for _, _, id_ in listed):
        return None
    return Firing(of, at, status, ms, request, answer, listed, error)


def blank(stage: Stage, erased: set[tuple[str, int]], below: int, limit: int) -> int | None:
    """Take erased events and what vendors said about them out of firings; returns where to go on, None at the end."""
    rows = stage.db.all("select id, answer, request, events from firing where id < ? order by id desc limit ?", (below, limit))
    for id_, answer, request, events in rows:
        listed = orjson.loads(events)
        kept = [entry for entry in listed if (entry[0], entry[1]) not in erased]
        if len(kept) == len(listed):
            continue
        left = orjson.dumps(kept).decode()
        stage.db.execute("update firing set answer='', request='', events=? where id=?", (left, id_))
        stage.firing_bytes -= len(answer) + len(request) + len(events) - len(left)
    return rows[-1][0] if len(rows) == limit else None
