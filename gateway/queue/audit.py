"""The audit: the equations counted from the rows themselves, and whatever is wrong with a row (design §0.3, §7).

First, in one short read transaction: counters, heads and positions, the retry rows, and the log rows above each position that
no run covers. Then piece by piece, each in a transaction of its own: every row against its checksum, and every row below a
position must be in exactly one run or have exactly one retry row. Nothing is derived from an equation, and nothing is taken
from the memory of the process that owns the store, so that a changed counter, run or row shows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import StoreError
from gateway.outcomes import ENDINGS, Outcome
from gateway.queue import schema
from gateway.queue.base import Audit, LaneCount, SourceCount
from gateway.queue.memory import settled_above
from gateway.queue.runs import Ranges
from gateway.queue.schema import LOGGED_CODE, MASK, NO_LANE, checksum, row_id

SLICE = 2000
MOST_PROBLEMS = 100


@dataclass
class _Lane:
    lane: int
    source: int
    start: int
    logged_at_start: int
    backfilled: int
    late: int
    cursor: int
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    queued: int = 0


@dataclass
class _Source:
    name: str
    head: int
    accepted: int
    departed: int
    bytes: int
    logged: int = 0
    same: int = 0
    conflict: int = 0
    rows: int = 0


class Auditor:
    """One audit over a connection that only reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.problems: list[str] = []
        self.sources: dict[int, _Source] = {}
        self.lanes: dict[tuple[int, int], _Lane] = {}
        self.names: dict[int, str] = {}

    def run(self) -> Audit:
        """Count, then look at every row."""
        self.connection.execute("begin")
        try:
            self._read()
            self._count_outcomes()
            self._count_queued()
        finally:
            self.connection.execute("rollback")
        self._check_rows()
        self._check_copies()
        return self._result()

    def problem(self, text: str) -> None:
        """Note something wrong; the list ends at MOST_PROBLEMS."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)

    def _read(self) -> None:
        for id_, *columns in self.connection.execute("select id, name, head, accepted, departed, bytes from source"):
            self.sources[id_] = _Source(*columns)
        self.names = dict(self.connection.execute("select id, name from lane"))
        sql = "select lane, source, start, logged_at_start, backfilled, late, cursor from position"
        for row in self.connection.execute(sql):
            self.lanes[(row[0], row[1])] = _Lane(*row)

    def _count_outcomes(self) -> None:
        for lane, source, label, code, n in self.connection.execute("select lane, source, label, code, n from counter"):
            if n < 0:
                self.problem(f"a counter of {label} is below zero")
            if lane == NO_LANE and source in self.sources:
                self._count_at_source(self.sources[source], code, n)
            elif (lane, source) in self.lanes and code in ENDINGS:
                outcome, reason = ENDINGS[code]
                outcomes = self.lanes[(lane, source)].outcomes
                outcomes[(str(outcome), reason)] = outcomes.get((str(outcome), reason), 0) + n
            else:
                self.problem(f"a counter of {label} belongs to no lane or outcome (lane {lane}, source {source}, code {code})")
        for state in self.sources.values():
            if state.logged != state.head:
                self.problem(f"{state.name}: the head is {state.head}, but {state.logged} events were counted as logged")

    def _count_at_source(self, source: _Source, code: int, n: int) -> None:
        if code == LOGGED_CODE:
            source.logged += n
        elif ENDINGS.get(code) == (Outcome.DUPLICATE, "same"):
            source.same += n
        elif ENDINGS.get(code) == (Outcome.DUPLICATE, "conflict"):
            source.conflict += n
        else:
            self.problem(f"{source.name}: a counter has the unknown code {code}")

    def _count_queued(self) -> None:
        """Log rows above the position that nothing covers, and retry rows."""
        for lane in self.lanes.values():
            covered = Ranges()
            for lo, hi in settled_above(self.connection, lane.lane, lane.source, lane.cursor):
                covered.add(lo, hi)
            for lo, hi in _gaps(covered, lane.cursor):
                lane.queued += self._rows_between(lane.source, lo, hi)
            sql = "select count(*) from retry where lane=? and source=?"
            lane.queued += self.connection.execute(sql, (lane.lane, lane.source)).fetchone()[0]
        counted = sum(lane.queued for lane in self.lanes.values())
        (orphans,) = self.connection.execute("select count(*) from retry").fetchone()
        if orphans > counted:
            self.problem(f"{orphans - counted} retry rows belong to no lane")

    def _rows_between(self, source: int, lo: int, hi: int) -> int:
        sql = "select count(*) from log where id between ? and ?"
        return int(self.connection.execute(sql, (row_id(source, lo), row_id(source, hi))).fetchone()[0])

    def _check_rows(self) -> None:
        for id_, source in self.sources.items():
            above = 0
            departed = self._departed(id_)
            while above < MASK:
                above = self._check_slice(id_, source, above)
            if departed == self._departed(id_) and source.rows != source.head - departed:
                self.problem(f"{source.name}: {source.rows} events are in the log, {source.head - departed} should be")

    def _departed(self, source: int) -> int:
        return int(self.connection.execute("select departed from source where id=?", (source,)).fetchone()[0])

    def _log_slice(self, source: int, above: int) -> list[tuple[int, float, str, str, bytes, int]]:
        sql = "select id, received, label, event_id, body, crc from log where id > ? and id <= ? order by id limit ?"
        return self.connection.execute(sql, (row_id(source, above), row_id(source, MASK), SLICE)).fetchall()

    def _check_slice(self, id_: int, source: _Source, above: int) -> int:
        """The next rows in one read transaction, with what covers them; returns where to go on."""
        self.connection.execute("begin")
        try:
            rows = self._log_slice(id_, above)
            numbers = self._check_sums(source, rows)
            for lane in self.lanes.values():
                if lane.source == id_:
                    self._check_covered(lane, [n for n in numbers if lane.start <= n])
        finally:
            self.connection.execute("rollback")
        return numbers[-1] if numbers else MASK

    def _check_sums(self, source: _Source, rows: list[tuple[int, float, str, str, bytes, int]]) -> list[int]:
        numbers = []
        for row_id_, received, label, event_id, body, crc in rows:
            number = row_id_ & MASK
            numbers.append(number)
            source.rows += number <= source.head
            if checksum(row_id_, received, label, event_id, body) != crc:
                self.problem(f"{source.name}: event {number} fails its checksum")
        return numbers

    def _check_covered(self, lane: _Lane, numbers: list[int]) -> None:
        """Each number is settled once or waits once; below the cursor it is one of the two."""
        if not numbers:
            return
        lo, hi = numbers[0], numbers[-1]
        runs = Ranges()
        for run_lo, run_hi, code in self._runs(lane, lo, hi):
            if code not in ENDINGS:
                self.problem(f"{self._place(lane)}: settled numbers {run_lo}-{run_hi} have the unknown code {code}")
            runs.add(run_lo, run_hi)
        sql = "select id from retry where lane=? and id between ? and ?"
        bounds = (lane.lane, row_id(lane.source, lo), row_id(lane.source, hi))
        waiting = {id_ & MASK for (id_,) in self.connection.execute(sql, bounds)}
        for number in numbers:
            if number in runs and number in waiting:
                self.problem(f"{self._place(lane)}: event {number} is settled and waits for a retry")
            elif number < lane.cursor and number not in runs and number not in waiting:
                self.problem(f"{self._place(lane)}: event {number} has no outcome and will not be tried")

    def _runs(self, lane: _Lane, lo: int, hi: int) -> Iterator[tuple[int, int, int]]:
        before = """select lo, hi, code from run where lane=? and source=? and lo < ? order by lo desc limit 1"""
        yield from (run for run in self.connection.execute(before, (lane.lane, lane.source, lo)) if run[1] >= lo)
        within = "select lo, hi, code from run where lane=? and source=? and lo between ? and ? order by lo"
        yield from self.connection.execute(within, (lane.lane, lane.source, lo, hi))

    def _place(self, lane: _Lane) -> str:
        return f"{self.names.get(lane.lane, lane.lane)}/{self.sources[lane.source].name}"

    def _check_copies(self) -> None:
        """Runs that overlap or lead past the head, retry rows without an event, damaged dead letters."""
        last: tuple[int, int, int] = (0, 0, 0)
        for lane, source, lo, hi in self.connection.execute("select lane, source, lo, hi from run order by lane, source, lo"):
            known = self.sources.get(source)
            if known is None or (lane, source) not in self.lanes or hi > known.head or lo > hi:
                head = self._head(source)
                if hi > head or lo > hi:
                    self.problem(f"settled numbers {lo}-{hi} of lane {self.names.get(lane, lane)} lead past the head {head}")
            if last[:2] == (lane, source) and lo <= last[2]:
                self.problem(f"{self.names.get(lane, lane)}: numbers from {lo} are settled twice")
            last = (lane, source, hi)
        sql = """select r.id, r.lane from retry r left join log l on l.id = r.id
            where l.id is null and r.body is null limit 100"""
        for id_, lane in self.connection.execute(sql):
            self.problem(f"{self.names.get(lane, lane)}: event {id_ & MASK} waits for a retry, but is gone")
        self._check_checksums("retry", "id", "body is not null")
        self._check_checksums("dead", "number", "code is not null")

    def _head(self, source: int) -> int:
        row = self.connection.execute("select head from source where id=?", (source,)).fetchone()
        return int(row[0]) if row else 0

    def _check_checksums(self, table: str, key: str, condition: str) -> None:
        rows = self.connection.execute(f"select {key}, received, label, event_id, body, crc from {table} where {condition}")
        for id_, received, label, event_id, body, crc in rows:
            if checksum(id_, received, label, event_id, body) != crc:
                self.problem(f"the kept copy of event {event_id or id_ & MASK} ({table}) fails its checksum")

    def _result(self) -> Audit:
        sources = tuple(SourceCount(s.name, s.accepted, s.logged, s.same, s.conflict) for s in self.sources.values())
        rows = []
        for lane in self.lanes.values():
            source = self.sources.get(lane.source)
            if source is None or lane.lane not in self.names:
                self.problem(f"a position belongs to no lane or source (lane {lane.lane}, source {lane.source})")
                continue
            logged = source.logged - lane.logged_at_start
            outcomes = {key: n for key, n in lane.outcomes.items() if n}
            name = self.names[lane.lane]
            rows.append(LaneCount(name, source.name, logged, lane.backfilled, outcomes, lane.queued, lane.late))
        return Audit(sources, tuple(rows), tuple(self.problems))


def _gaps(covered: Ranges, lo: int) -> Iterator[tuple[int, int]]:
    for run_lo, run_hi in covered:
        if lo < run_lo:
            yield lo, run_lo - 1
        lo = max(lo, run_hi + 1)
    yield lo, MASK


def audit_readonly(folder: Path) -> Audit:
    """Audit a store from outside, while another process may own it. Raises StoreError when there is none to read."""
    file = folder if folder.suffix == ".db" else folder / "tagway.db"
    if not file.exists():
        raise StoreError(f"there is no store at {file}")
    return audit_file(file)


def audit_file(file: Path) -> Audit:
    """Audit over a connection of its own that can write nothing."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("pragma busy_timeout=1000").fetchall()
        connection.execute("pragma query_only=on").fetchall()
        schema.check_version(connection.execute("pragma user_version").fetchone()[0])
        return Auditor(connection).run()
    except sqlite3.DatabaseError as error:
        return Audit((), (), (f"the store cannot be read: {error}",))
    finally:
        connection.close()
