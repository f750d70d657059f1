"""Finding events and firings, for explanations: a connection of its own, which only reads, in short transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from gateway.queue import firing
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
            return [(self._names[s], n, row[0], row[1]) for (s, n), row in sorted(found.items()) if s in self._names]
        finally:
            connection.close()

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
