"""Finding events and firings, for explanations: a connection of its own, which only reads, in short transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import orjson

from gateway.queue import barred, firing
from gateway.queue.base import Firing
from gateway.queue.schema import MASK, SHIFT, connect, row_id

SLICE = 5000
CACHE_KIB = 2000
_ROW = "select id, body, received from log where id=? and event_id=?"
Found = tuple[str, int, bytes, float]


class Finder:
    """Opens the file for each question; `names` are the sources by id."""

    def __init__(self, file: Path, names: Mapping[int, str]) -> None:
        self._file = file
        self._names = names

    def firings(self, lane: str | None, event_id: str | None, limit: int) -> list[Firing]:
        """Newest firings, of one lane or of one event."""
        connection = connect(self._file, cache_kib=CACHE_KIB)
        try:
            return firing.read(connection, lane, event_id, limit)
        finally:
            connection.close()

    def find(self, event_id: str) -> list[Found]:
        """Events of an id: by the remembered ids, the kept copies, or else by a walk through the log."""
        connection = connect(self._file, cache_kib=CACHE_KIB)
        try:
            found = {(row[0], row[1]): row[2:] for row in self._kept(connection, event_id)}
            remembered = self._remembered(connection, event_id) or (() if found else self._walk(connection, event_id))
            found.update({(row[0], row[1]): row[2:] for row in remembered})
            rows = sorted(found.items(), key=lambda row: (row[0][0], not row[0][1], row[0][1]))  # a repeat has no number
            return [(self._names[s], n, row[0], row[1]) for (s, n), row in rows if s in self._names]
        finally:
            connection.close()

    def find_order(self, order: str, limit: int = 50) -> list[Found]:
        """Events whose `props.transaction_id` is this order, newest first: kept copies and a walk through the log.

        An event that no destination may have is found by the mark of its order, as long as it has one.
        """
        needle = orjson.dumps(order)[1:-1]
        connection = connect(self._file, cache_kib=CACHE_KIB)
        try:
            copies = "select source, id & ?, body, received from retry where body is not null and instr(body, ?)"
            rows = connection.execute(copies, (MASK, needle)).fetchall()
            letters = "select source, number, body, received from dead where instr(body, ?) order by id desc limit ?"
            rows += connection.execute(letters, (needle, limit)).fetchall()
            found = {(row[0], row[1]): row[2:] for row in rows if _order_of(row[2]) == order}
            for row in self._orders(connection, needle, order, limit):
                found[(row[0], row[1])] = row[2:]
        finally:
            connection.close()
        listed = [(self._names[s], n, row[0], row[1]) for (s, n), row in found.items() if s in self._names]
        return sorted(listed, key=lambda one: one[3], reverse=True)[:limit]

    def _orders(
        self, connection: sqlite3.Connection, needle: bytes, order: str, limit: int
    ) -> list[tuple[int, int, bytes, float]]:
        """Newest first per source, in slices, so that no transaction lasts."""
        found: list[tuple[int, int, bytes, float]] = []
        (salt,) = connection.execute("select value from keep where name='salt'").fetchone()
        for source, name in self._names.items():
            mark = barred.mark(salt, name, order)
            below, floor = row_id(source, MASK), row_id(source, 0)
            while below > floor and len(found) < limit:
                sql = "select id, instr(body, ?) or instr(body, ?) from log where id > ? and id < ? order by id desc limit ?"
                slice_ = connection.execute(sql, (needle, mark.encode(), floor, below, SLICE)).fetchall()
                for id_ in (id_ for id_, at in slice_ if at):
                    body, received = connection.execute("select body, received from log where id=?", (id_,)).fetchone()
                    if _order_of(body) == order or _mark_of(body) == mark:
                        found.append((source, id_ & MASK, body, received))
                below = slice_[-1][0] if len(slice_) == SLICE else floor
        return found

    def _remembered(self, connection: sqlite3.Connection, event_id: str) -> list[tuple[int, int, bytes, float]]:
        found = []
        for source in self._names:
            sql = "select number from seen where source=? and id=?"
            for (number,) in connection.execute(sql, (source, event_id)).fetchall():
                for id_, body, received in connection.execute(_ROW, (row_id(source, number), event_id)):
                    found.append((source, id_ & MASK, body, received))
        return found

    def _kept(self, connection: sqlite3.Connection, event_id: str) -> list[tuple[int, int, bytes, float]]:
        letters = "select source, number, body, received from dead where event_id=?"
        copies = "select source, id & ?, body, received from retry where body is not null and event_id=?"
        rows: list[tuple[int, int, bytes, float]] = connection.execute(letters, (event_id,)).fetchall()
        return rows + connection.execute(copies, (MASK, event_id)).fetchall()

    def _walk(self, connection: sqlite3.Connection, event_id: str) -> list[tuple[int, int, bytes, float]]:
        found, below = [], 1 << 62
        while True:
            sql = "select id, event_id from log where id < ? order by id desc limit ?"
            rows = connection.execute(sql, (below, SLICE)).fetchall()
            for id_, held in rows:
                if held == event_id:
                    body, received = connection.execute("select body, received from log where id=?", (id_,)).fetchone()
                    found.append((id_ >> SHIFT, id_ & MASK, body, received))
            if len(rows) < SLICE:
                return found
            below = rows[-1][0]


def _order_of(body: bytes) -> str | None:
    """The order number of a stored event, None where it has none or cannot be read."""
    return _inside(body, "props", "transaction_id")


def _mark_of(body: bytes) -> str | None:
    return _inside(body, "raw", barred.KEY)


def _inside(body: bytes, section: str, key: str) -> str | None:
    try:
        value = orjson.loads(body)[section][key]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return str(value)
