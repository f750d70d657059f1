"""The store without its clockwork: one file, one memory, and transactions made of operations.

    stage = core.begin()            # BEGIN IMMEDIATE
    append(stage, events)           # any number of operations, each over the stage
    core.prepare(stage)             # positions, runs, counters: the last statements
    core.commit()                   # COMMIT; may run in a thread, the connection is used by nobody else meanwhile
    core.applied(stage)             # memory changes now, and only now

`run` does all of it. Whatever raises on the way leaves file and memory as they were, after `rollback`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.clock import Clock
from gateway.errors import StoreUnfit
from gateway.outcomes import ENDINGS
from gateway.queue import lanes, schema
from gateway.queue.base import Counter, LaneDepth, Settlement, Taken
from gateway.queue.database import Database, Hook
from gateway.queue.memory import Memory, Position, load
from gateway.queue.settle import UNREADABLE, settle
from gateway.queue.stage import Stage
from gateway.queue.take import Taking

T = TypeVar("T")
WRITER_CACHE_KIB = 8000
READER_CACHE_KIB = 4000


@dataclass(frozen=True, slots=True)
class Limits:
    """What retention keeps: events by age (seconds) and bytes, personal data by age, firings by age and bytes."""

    age: float = 7 * 86400.0
    bytes: int = 20 * 10**9
    personal: float = 72 * 3600.0
    firings_age: float = 3 * 86400.0
    firings_bytes: int = 2 * 10**9
    remembered: float = 48 * 3600.0


class Core:
    """An open store. Not safe for use from two threads at once, but for `commit` while nothing else is called."""

    def __init__(
        self, file: Path, clock: Clock, *, limits: Limits | None = None, synchronous: str = "full", hook: Hook | None = None
    ) -> None:
        self.file = file
        self.clock = clock
        self.limits = limits or Limits()
        try:
            connection = schema.connect(file, cache_kib=WRITER_CACHE_KIB, synchronous=synchronous)
            self.memory: Memory = _prepared(connection)
            self.reader = schema.connect(file, cache_kib=READER_CACHE_KIB)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: its own message quotes damaged text
            raise StoreUnfit(f"the store cannot be opened ({error}); move it away or restore it from a copy") from error
        self.db = Database(connection, hook)
        self.corrupt_rows = 0
        self.commit_seconds: list[float] = []

    # transactions

    def begin(self) -> Stage:
        """Start a transaction."""
        self.db.begin()
        return Stage(self.db, self.memory, self.clock.now())

    def prepare(self, stage: Stage) -> None:
        """Write what the operations noted."""
        stage.flush()

    def commit(self) -> None:
        """Make it last."""
        started = time.perf_counter()
        self.db.commit()
        if len(self.commit_seconds) < 10_000:
            self.commit_seconds.append(time.perf_counter() - started)

    def applied(self, stage: Stage) -> None:
        """Take it into memory."""
        stage.apply()

    def rollback(self) -> None:
        """Forget the transaction."""
        self.db.rollback()

    def run(self, operation: Callable[[Stage], T]) -> T:
        """One operation as one transaction."""
        try:
            stage = self.begin()
            result = operation(stage)
            self.prepare(stage)
            self.commit()
        except BaseException:
            self.rollback()
            raise
        self.applied(stage)
        return result

    # lanes

    def open_lane(self, lane: str, sources: Sequence[str]) -> None:
        """See base.Store.open_lane."""
        self.run(lambda stage: lanes.open_lane(stage, lane, sources))
        lanes.activate(self.memory, lane, sources)

    def take(self, lane: str, limit: int) -> tuple[list[Taken], list[Settlement]]:
        """Events for a lane, and settlements for rows that are damaged: the caller settles these."""
        state = self.memory.lanes[self.memory.lane_ids[lane]]
        taking = Taking(self.reader, self.memory, state, self.clock.now())
        taking.run(limit)
        self.corrupt_rows += len(taking.damaged)
        return taking.taken, [Settlement(taken, "", UNREADABLE) for taken in taking.damaged]

    def settle(self, lane: str, settlements: Sequence[Settlement]) -> int:
        """Settle in a transaction of its own."""
        return self.run(lambda stage: settle(stage, lane, settlements))

    def depth(self, lane: str) -> LaneDepth:
        """See base.Store.depth."""
        lane_id = self.memory.lane_ids[lane]
        queued, retrying = 0, 0
        oldest: list[float] = []
        for (of, source), position in self.memory.positions.items():
            if of != lane_id:
                continue
            fresh = position.fresh(self.memory.sources[source].head)
            queued, retrying = queued + fresh + position.retrying, retrying + position.retrying
            if fresh:
                oldest += self._oldest_fresh(source, position)
            if position.retrying:
                oldest += self._oldest_retry(lane_id, source)
        return LaneDepth(queued, retrying, min(oldest, default=None))

    def _oldest_fresh(self, source: int, position: Position) -> list[float]:
        sql = "select received from log where id >= ? and id <= ? order by id limit 1"
        bounds = (schema.row_id(source, position.cursor), schema.row_id(source, schema.MASK))
        return [row[0] for row in self.reader.execute(sql, bounds)]

    def _oldest_retry(self, lane: int, source: int) -> list[float]:
        sql = """select coalesce(r.received, l.received) from retry r left join log l on l.id = r.id
            where r.lane=? and r.id between ? and ? order by r.id limit 1"""
        bounds = (lane, schema.row_id(source, 0), schema.row_id(source, schema.MASK))
        return [row[0] for row in self.reader.execute(sql, bounds) if row[0] is not None]

    def close(self) -> None:
        """Close both connections; an open transaction is undone."""
        self.reader.close()
        self.db.close()


def _prepared(connection: sqlite3.Connection) -> Memory:
    try:
        schema.prepare(connection, os.urandom(32))
        connection.execute("update gauge set n = n + 1 where name = 'opens'")
        return load(connection)
    except BaseException:
        connection.close()
        raise


def named_counters(memory: Memory) -> dict[Counter, int]:
    """The counters by names; beside the outcomes what was logged per source and name, and accepted per source."""
    found: dict[Counter, int] = {}
    for (lane, source, label, code), n in memory.counters.items():
        if code != schema.LOGGED_CODE and code not in ENDINGS:
            continue
        outcome, reason = (schema.LOGGED, "") if code == schema.LOGGED_CODE else ENDINGS[code]
        lane_name = "" if lane == schema.NO_LANE else memory.lanes[lane].name
        found[(memory.sources[source].name, lane_name, label, str(outcome), reason)] = n
    for state in memory.sources.values():
        found[(state.name, "", "", schema.ACCEPTED, "")] = state.accepted
    return found
