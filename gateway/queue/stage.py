"""One transaction's view: copies of what it touches, what it adds, and how both reach the file and then the memory.

The operations (append.py, settle.py …) write rows through the stage's database and note everything else here. `flush` writes
positions, runs and counters at the end of the transaction; `apply` changes the memory, and is called only after the
commit. A transaction that fails is simply forgotten.
"""

from __future__ import annotations

from gateway.queue.database import Database
from gateway.queue.memory import CountKey, LaneState, Memory, Position, SourceState
from gateway.queue.newest import Row
from gateway.queue.runs import coalesce

_COUNT = """insert into counter(lane, source, label, code, n) values(?, ?, ?, ?, ?)
    on conflict(lane, source, label, code) do update set n = n + excluded.n"""


class Stage:
    """The changes of one transaction; `now` is the wall time at its start."""

    def __init__(self, db: Database, memory: Memory, now: float) -> None:
        self.db = db
        self.memory = memory
        self.now = now
        self.sources: dict[int, SourceState] = {}
        self.positions: dict[tuple[int, int], Position] = {}
        self.lanes: dict[str, LaneState] = {}
        self.opened: list[tuple[str, tuple[str, ...]]] = []
        self.counts: dict[CountKey, int] = {}
        self.runs: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.due: dict[tuple[int, int], float] = {}
        self.landed: list[tuple[int, int, int, int]] = []
        self.withdrawn: dict[tuple[bytes, str], tuple[float, float]] = {}
        self.firing_bytes = 0
        self.logged: set[int] = set()
        self.new_rows: list[tuple[int, Row]] = []
        self.old_rows: list[int] = []

    # what an operation looks at and changes

    def source(self, source: int) -> SourceState:
        """A source to change."""
        if source not in self.sources:
            self.sources[source] = self.memory.sources[source].copy()
        return self.sources[source]

    def source_id(self, name: str) -> int:
        """A source by name, made when it is not there yet."""
        known = self.memory.source_ids.get(name)
        if known is not None:
            return known
        for source in self.sources.values():
            if source.name == name:
                return source.id
        created = self.db.execute("insert into source(name) values(?)", (name,)).lastrowid or 0
        self.sources[created] = SourceState(created, name)
        return created

    def lane_id(self, name: str) -> int:
        """A lane by name, made when it is not there yet."""
        known = self.memory.lane_ids.get(name)
        if known is not None:
            return known
        if name not in self.lanes:
            created = self.db.execute("insert into lane(name) values(?)", (name,)).lastrowid or 0
            self.lanes[name] = LaneState(created, name)
        return self.lanes[name].id

    def position(self, lane: int, source: int) -> Position:
        """A position to change. Raises KeyError when the lane has none in that source."""
        key = (lane, source)
        if key not in self.positions:
            self.positions[key] = self.memory.positions[key].copy()
        return self.positions[key]

    def knows(self, lane: int, source: int) -> bool:
        """Whether the lane has a position in that source."""
        return (lane, source) in self.positions or (lane, source) in self.memory.positions

    def readers(self, source: int) -> list[int]:
        """The lanes that have a position in a source."""
        new = [lane for lane, of in self.positions if of == source and (lane, of) not in self.memory.positions]
        return [*self.memory.readers.get(source, ()), *new]

    def count(self, lane: int, source: int, label: str, code: int, n: int = 1) -> None:
        """Add to a counter."""
        key = (lane, source, label, code)
        self.counts[key] = self.counts.get(key, 0) + n

    def settled(self, lane: int, source: int, number: int, code: int) -> None:
        """Keep the code of a settled number."""
        self.runs.setdefault((lane, source), []).append((number, code))

    def wake(self, lane: int, source: int, due: float) -> None:
        """Note that a retry row of the lane is due at a time."""
        key = (lane, source)
        self.due[key] = min(due, self.due.get(key, due))

    def token(self) -> int:
        """A number no retry row ever had; numbers of a failed transaction are not used again."""
        self.memory.token += 1
        return self.memory.token

    # to the file

    def flush(self) -> None:
        """Write runs, positions, sources and counters: the last statements of the transaction."""
        self.write_runs()
        if self.positions:
            self.db.executemany(
                "update position set cursor=?, backfilled=?, late=? where lane=? and source=?",
                [(p.cursor, p.backfilled, p.late, *key) for key, p in self.positions.items()],
            )
        if self.sources:
            self.db.executemany(
                "update source set head=?, accepted=?, departed=?, bytes=?, bare=? where id=?",
                [(s.head, s.accepted, s.departed, s.bytes, s.bare, s.id) for s in self.sources.values()],
            )
        if self.counts:
            self.db.executemany(_COUNT, [(*key, n) for key, n in self.counts.items() if n])
        if self.firing_bytes:
            self.db.execute("update gauge set n = n + ? where name='firings'", (self.firing_bytes,))

    def write_runs(self) -> None:
        """Write the runs noted so far; also done before an operation that reads the run table."""
        for (lane, source), settled in self.runs.items():
            position = self.position(lane, source)
            runs = coalesce(settled)
            tail, first = position.tail, runs[0]
            if tail and tail[1] + 1 == first[0] and tail[2] == first[2]:
                runs[0] = (tail[0], first[1], first[2])
            self.db.executemany(
                "insert or replace into run(lane, source, lo, hi, code) values(?, ?, ?, ?, ?)",
                [(lane, source, *run) for run in runs],
            )
            position.tail = runs[-1]
        self.runs.clear()

    # to the memory

    def apply(self) -> None:
        """Change the memory: only after the commit."""
        memory = self.memory
        for key, n in self.counts.items():
            memory.counters[key] = memory.counters.get(key, 0) + n
        for source_state in self.sources.values():
            memory.add_source(source_state)
        for lane_state in self.lanes.values():
            memory.add_lane(lane_state)
        for (lane, source), position in self.positions.items():
            memory.add_position(lane, source, position)
        for (subject, purpose), times in self.withdrawn.items():
            memory.withdrawals.setdefault(subject, {})[purpose] = times
        memory.firing_bytes += self.firing_bytes
        memory.newest.add(self.new_rows)
        memory.newest.drop(self.old_rows)
        self._land()

    def _land(self) -> None:
        for lane, source, number, token in self.landed:
            reading = self.memory.lanes[lane].reading.get(source)
            if reading and reading.flying.get(number) == token:
                del reading.flying[number]
        for (lane, source), due in self.due.items():
            reading = self.memory.lanes[lane].reading.get(source)
            if reading:
                reading.due = min(reading.due, due)
