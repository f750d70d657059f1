"""Take: hand events to a lane, half due retries and half fresh, its sources in turn (design §6).

Reads committed rows through the reading connection. What is handed out is in flight, in memory only, until it is settled or
released. The retry table is not asked while a lane has no row there that may be due. A row that fails its checksum, or that
SQLite cannot read at all, is not handed out but returned as damaged, to be settled as dead.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from typing import Any

from gateway.queue.base import RetryState, Taken
from gateway.queue.memory import NEVER, LaneState, Memory, Position, Reading
from gateway.queue.schema import MASK, checksum, row_id
from gateway.queue.settle import ending_of

READ_AHEAD = 5000
"""Events of one lane that may be in flight."""
READ_BYTES = 4 << 20
"""Bytes handed out at once (one event at least)."""
_FRESH = "select id, received, label, event_id, body, crc from log where id between ? and ? order by id limit ?"
_RETRY = """select r.id, r.due, r.tries, r.first_at, r.parts, r.worst, r.worst_detail, r.alone, r.why, r.why_detail, r.token,
    coalesce(r.received, l.received), coalesce(r.label, l.label), coalesce(r.event_id, l.event_id), coalesce(r.body, l.body),
    coalesce(r.crc, l.crc)
    from retry r left join log l on l.id = r.id where r.lane=? and r.source=? and r.due<=? order by r.due, r.id limit ?"""


UNREADABLE_PAUSE = 60.0
"""Seconds until a retry table that cannot be read is asked again."""
log = logging.getLogger(__name__)


class Taking:
    """One call of take: collects events of a lane until enough, too many bytes, or nothing is left."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory, lane: LaneState, now: float) -> None:
        self.connection = connection
        self.memory = memory
        self.lane = lane
        self.now = now
        self.taken: list[Taken] = []
        self.damaged: list[Taken] = []
        self.room = READ_BYTES

    def run(self, limit: int) -> None:
        """Take up to `limit` events."""
        limit = min(limit, READ_AHEAD - self.lane.flying)
        if limit <= 0 or not self.lane.active:
            return
        self._in_turn(self._retries, (limit + 1) // 2)
        self._in_turn(self._fresh, limit - len(self.taken))
        if len(self.taken) < limit:
            self._in_turn(self._retries, limit - len(self.taken))
        self.lane.turn += 1

    def _in_turn(self, read: Any, limit: int) -> None:
        active = self.lane.active
        order = [active[(self.lane.turn + i) % len(active)] for i in range(len(active))]
        before = len(self.taken)
        for left in range(len(order), 0, -1):
            want = limit - (len(self.taken) - before)
            if want <= 0 or self.room <= 0:
                return
            read(order[-left], -(-want // left))
        for source in order:
            want = limit - (len(self.taken) - before)
            if want > 0 and self.room > 0:
                read(source, want)

    def _place(self, source: int) -> tuple[Position, Reading]:
        return self.memory.positions[(self.lane.id, source)], self.lane.reading[source]

    def _fresh(self, source: int, want: int) -> None:
        position, reading = self._place(source)
        head = self.memory.sources[source].head
        while want > 0 and self.room > 0 and reading.next <= head:
            reading.next = position.done.after(max(reading.next, position.cursor))
            want -= self._from_memory(source, want, position, reading)
            if want <= 0 or self.room <= 0 or reading.next > head:
                return
            rows = self._rows(row_id(source, reading.next), row_id(source, head), want)
            for row in rows:
                number = row[0] & MASK
                if self.room <= 0:
                    return
                reading.next = number + 1
                if not position.covers(number) and number not in reading.flying:
                    self._hand_out(source, number, reading, row[1:], None, 0)
                    want -= 1
            if not rows:
                reading.next = head + 1

    def _from_memory(self, source: int, want: int, position: Position, reading: Reading) -> int:
        """Hand out the next numbers as long as they are among the newest events; returns how many."""
        name, newest, base = self.memory.sources[source].name, self.memory.newest, row_id(source, 0)
        given = 0
        while given < want and self.room > 0 and (row := newest.row(base + reading.next)) is not None:
            number = reading.next
            reading.next += 1
            if not position.covers(number) and number not in reading.flying:
                received, label, body = row
                reading.flying[number] = 0
                self.taken.append(Taken(name, number, label, body, received))
                self.room -= len(body)
                given += 1
        return given

    def _rows(self, first: int, last: int, want: int) -> list[Any]:
        try:
            return self.connection.execute(_FRESH, (first, last, want)).fetchall()
        except sqlite3.DatabaseError as error:
            log.error("Stored events cannot be read together, each is tried alone: %s", error)
        return [row for id_ in range(first, min(last, first + want - 1) + 1) for row in self._row(id_)]

    def _row(self, id_: int) -> list[Any]:
        try:
            return self.connection.execute(_FRESH, (id_, id_, 1)).fetchall()
        except sqlite3.DatabaseError:
            return [(id_, 0.0, "", "", None, 0)]

    def _retries(self, source: int, want: int) -> None:
        position, reading = self._place(source)
        if not position.retrying or reading.due > self.now:
            return
        waiting = sum(1 for token in reading.flying.values() if token)
        try:
            rows = self.connection.execute(_RETRY, (self.lane.id, source, self.now, want + waiting)).fetchall()
        except sqlite3.DatabaseError as error:
            log.error("Events that wait for a retry cannot be read: %s", error)
            reading.due = self.now + UNREADABLE_PAUSE
            return
        for row in rows:
            number, token = row[0] & MASK, row[10]
            if reading.flying.get(number) == token:
                continue
            if want <= 0 or self.room <= 0:
                return
            self._hand_out(source, number, reading, row[11:], _state(row), token)
            want -= 1
        if len(rows) < want + waiting:
            reading.due = self._next_due(source)

    def _next_due(self, source: int) -> float:
        sql = "select min(due) from retry where lane=? and source=? and due>?"
        (due,) = self.connection.execute(sql, (self.lane.id, source, self.now)).fetchone()
        return NEVER if due is None else float(due)

    def _hand_out(
        self, source: int, number: int, reading: Reading, row: tuple[Any, ...], retry: RetryState | None, token: int
    ) -> None:
        received, label, event_id, body, crc = row
        name = self.memory.sources[source].name
        reading.flying[number] = token
        if body is None or crc != checksum(row_id(source, number), received, label, event_id, body):
            kept = body if isinstance(body, bytes) else b""
            arrived = received if isinstance(received, float) else 0.0
            self.damaged.append(Taken(name, number, "", kept, arrived, retry, token))
            return
        self.taken.append(Taken(name, number, label, body, received, retry, token))
        self.room -= len(body)


def _state(row: tuple[Any, ...]) -> RetryState:
    _, due, tries, first_at, parts, worst, worst_detail, alone, why, why_detail, *_ = row
    numbers = None if parts is None else tuple(int(part) for part in parts.split(",") if part)
    return RetryState(due, tries, first_at, numbers, ending_of(worst, worst_detail), bool(alone), ending_of(why, why_detail))


def release(memory: Memory, lane: LaneState, taken: Iterable[Taken]) -> None:
    """Let go of events: fresh ones are read again from the lowest, retries from their time on."""
    for one in taken:
        source = memory.source_ids[one.source]
        reading = lane.reading.get(source)
        if reading is None or reading.flying.get(one.seq) != one.token:
            continue
        del reading.flying[one.seq]
        if one.retry is None:
            reading.next = min(reading.next, one.seq)
        else:
            reading.due = min(reading.due, one.retry.due)


def holds(memory: Memory, lane: LaneState, taken: Taken) -> bool:
    """Whether the lane still has what it took in this very version."""
    reading = lane.reading.get(memory.source_ids[taken.source])
    return reading is not None and reading.flying.get(taken.seq) == taken.token


def has_work(memory: Memory, lane: LaneState, now: float) -> bool:
    """Whether take may find something now."""
    return lane.flying < READ_AHEAD and next_work(memory, lane) <= now


def next_work(memory: Memory, lane: LaneState) -> float:
    """Wall time from which take may find something: 0 for at once, NEVER while nothing waits."""
    soonest = NEVER
    for source in lane.active:
        reading = lane.reading[source]
        if reading.next <= memory.sources[source].head:
            return 0.0
        if memory.positions[(lane.id, source)].retrying:
            soonest = min(soonest, reading.due)
    return soonest
