"""What the owner of the store keeps in memory: a copy of committed heads, positions, counters and withdrawals.

It is small (a few megabytes of the newest events, no list of retry rows), is read from the file at open, and changes only
after a commit succeeded: a transaction works on copies (stage.py).
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gateway.queue.newest import Newest
from gateway.queue.runs import Ranges, Run
from gateway.queue.schema import LOGGED_CODE, MASK, NO_LANE, SHIFT, row_id


@dataclass(slots=True)
class SourceState:
    """A source. `floor` is the lowest number that may still be in the log; `logged` is what the counters say."""

    id: int
    name: str
    head: int = 0
    accepted: int = 0
    departed: int = 0
    bytes: int = 0
    bare: int = 0
    floor: int = 1
    logged: int = 0

    def copy(self) -> SourceState:
        """An independent copy."""
        return replace(self)


@dataclass(slots=True)
class Position:
    """Of a lane in a source. Settled or waiting for a retry: everything below `cursor` and in `done` above it.

    `retrying` counts retry rows. `tail` is the last run written, which the next one may continue.
    """

    start: int
    logged_at_start: int
    cursor: int
    backfilled: int = 0
    late: int = 0
    done: Ranges = field(default_factory=Ranges)
    retrying: int = 0
    tail: Run | None = None

    def copy(self) -> Position:
        """An independent copy."""
        return replace(self, done=self.done.copy())

    def covers(self, number: int) -> bool:
        """Whether a number has an outcome or a retry row (or lies before the lane's start)."""
        return number < self.cursor or number in self.done

    def cover(self, number: int) -> None:
        """Note that a number now has an outcome or a retry row."""
        if number == self.cursor:
            self.cursor = self.done.shift(number + 1)
        elif number > self.cursor:
            self.done.add(number, number)

    def fresh(self, head: int) -> int:
        """How many numbers up to `head` were never settled nor put off."""
        return max(0, head + 1 - self.cursor) - len(self.done)

    def uncovered(self, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """The ranges of lo..hi that are neither settled nor waiting for a retry."""
        lo = max(lo, self.cursor)
        for done_lo, done_hi in self.done:
            if lo < done_lo <= hi:
                yield lo, done_lo - 1
            lo = max(lo, done_hi + 1)
        if lo <= hi:
            yield lo, hi


@dataclass(slots=True)
class Reading:
    """How far a lane has read a source in this process: not stored, begun anew by every start of the lane.

    `flying` are the numbers handed out, each with the token of its retry row (0: fresh). `due` is a time before which no
    retry row outside `flying` is due.
    """

    next: int
    flying: dict[int, int] = field(default_factory=dict)
    due: float = 0.0


@dataclass(slots=True)
class LaneState:
    """A lane: `active` are the sources it reads now, in configured order; `turn` is whose turn it is among them."""

    id: int
    name: str
    active: tuple[int, ...] = ()
    reading: dict[int, Reading] = field(default_factory=dict)
    turn: int = 0

    @property
    def flying(self) -> int:
        """How many events the lane holds unsettled."""
        return sum(len(reading.flying) for reading in self.reading.values())


log = logging.getLogger(__name__)
CountKey = tuple[int, int, str, int]
"""(lane, source, label, code)"""
WithdrawalTimes = dict[str, tuple[float, float]]


@dataclass(slots=True)
class Memory:
    """All of it. Sources and lanes are found by name and by id; positions by (lane, source)."""

    sources: dict[int, SourceState] = field(default_factory=dict)
    source_ids: dict[str, int] = field(default_factory=dict)
    lanes: dict[int, LaneState] = field(default_factory=dict)
    lane_ids: dict[str, int] = field(default_factory=dict)
    positions: dict[tuple[int, int], Position] = field(default_factory=dict)
    readers: dict[int, list[int]] = field(default_factory=dict)
    counters: dict[CountKey, int] = field(default_factory=dict)
    withdrawals: dict[bytes, WithdrawalTimes] = field(default_factory=dict)
    firing_bytes: int = 0
    token: int = 1
    salt: bytes = b""
    newest: Newest = field(default_factory=Newest)

    @property
    def bytes(self) -> int:
        """Bytes of the log, of copies in retry rows and of dead letters: what `retention.bytes` limits."""
        return sum(source.bytes for source in self.sources.values())

    def add_source(self, source: SourceState) -> None:
        """Make a source known."""
        self.sources[source.id] = source
        self.source_ids[source.name] = source.id
        self.readers.setdefault(source.id, [])

    def add_lane(self, lane: LaneState) -> None:
        """Make a lane known."""
        self.lanes[lane.id] = lane
        self.lane_ids[lane.name] = lane.id

    def add_position(self, lane: int, source: int, position: Position) -> None:
        """Put a position in place, new or changed."""
        if (lane, source) not in self.positions:
            self.readers[source].append(lane)
        self.positions[(lane, source)] = position


def load(connection: sqlite3.Connection) -> Memory:
    """Read everything back after a start: heads, positions with what was settled above their cursors, counters."""
    memory = Memory()
    memory.salt = connection.execute("select value from keep where name='salt'").fetchone()[0]
    gauges = dict(connection.execute("select name, n from gauge"))
    memory.firing_bytes, memory.token = gauges["firings"], gauges["opens"] << 32 | 1
    for row in connection.execute("select id, name, head, accepted, departed, bytes, bare from source"):
        memory.add_source(SourceState(*row))
    for source in memory.sources.values():
        source.head = max(source.head, _last_in_log(connection, source.id))
        source.floor = first_in_log(connection, source)
    for lane_id, name in connection.execute("select id, name from lane"):
        memory.add_lane(LaneState(lane_id, name))
    for lane, source, label, code, n in connection.execute("select lane, source, label, code, n from counter"):
        if source not in memory.sources or (lane != NO_LANE and lane not in memory.lanes):
            log.error("A counter of %s belongs to no lane or source: run `tagway audit`", label)
            continue
        memory.counters[(lane, source, label, code)] = n
        if lane == NO_LANE and code == LOGGED_CODE:
            memory.sources[source].logged += n
    for subject, purpose, at, lifted in connection.execute("select subject, purpose, at, lifted from withdrawal"):
        memory.withdrawals.setdefault(subject, {})[purpose] = (at, lifted)
    _load_positions(connection, memory)
    return memory


def first_in_log(connection: sqlite3.Connection, source: SourceState) -> int:
    """The lowest number of a source that is in the log; past its head when none is."""
    bounds = (row_id(source.id, 0), row_id(source.id, MASK))
    row = connection.execute("select id from log where id between ? and ? order by id limit 1", bounds).fetchone()
    return row[0] & MASK if row else source.head + 1


def _last_in_log(connection: sqlite3.Connection, source: int) -> int:
    bounds = (row_id(source, 0), row_id(source, MASK))
    row = connection.execute("select id from log where id between ? and ? order by id desc limit 1", bounds).fetchone()
    return row[0] & MASK if row else 0


def _load_positions(connection: sqlite3.Connection, memory: Memory) -> None:
    rows = connection.execute("select lane, source, start, logged_at_start, cursor, backfilled, late from position").fetchall()
    for lane, source, *columns in rows:
        if source not in memory.sources or lane not in memory.lanes:
            log.error("A position belongs to no lane or source: run `tagway audit`")
            continue
        position = Position(*columns)
        for lo, hi in settled_above(connection, lane, source, position.cursor):
            position.done.add(lo, hi)
        position.cursor = position.done.shift(position.cursor)
        counted = connection.execute("select count(*) from retry where lane=? and source=?", (lane, source))
        position.retrying = counted.fetchone()[0]
        memory.add_position(lane, source, position)


def settled_above(connection: sqlite3.Connection, lane: int, source: int, cursor: int) -> Iterator[tuple[int, int]]:
    """Ranges from a cursor on that are settled or wait for a retry, as the rows say."""
    yield from connection.execute("select lo, hi from run where lane=? and source=? and lo>=?", (lane, source, cursor))
    waiting = "select id from retry where lane=? and id between ? and ?"
    for (id_,) in connection.execute(waiting, (lane, row_id(source, cursor), row_id(source, MASK))):
        yield id_ & MASK, id_ & MASK


def source_of(id_: int) -> int:
    """The source in a row id."""
    return id_ >> SHIFT


NEVER = math.inf
