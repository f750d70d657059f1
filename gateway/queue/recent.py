"""Reading what happened lately, for the page: the newest events, how each stands in each lane, and the newest requests.

    with Window(file) as window:
        rows = window.newest(500)
        fates = window.fates(numbers_of(rows))       # {("shop", 12): {"meta": Fate(...)}}

A window is one short read transaction over a connection of its own that can write nothing: what it shows fits together,
the owner of the store never waits for it, and without a window open nothing of this costs anything.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from gateway.outcomes import ENDINGS, Ending
from gateway.queue.base import Firing
from gateway.queue.schema import MASK, SHIFT, row_id

Number = tuple[str, int]
"""An event's place: the name of its source and its sequence number."""
_FIRINGS = "select id, lane, at, status, ms, request, answer, error, events from firing where id > ? order by id desc limit ?"


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as it stands in the log."""

    source: str
    seq: int
    label: str
    event_id: str
    received: float
    body: bytes

    @property
    def number(self) -> Number:
        """Its place."""
        return self.source, self.seq


@dataclass(frozen=True, slots=True)
class Fate:
    """How an event stands in a lane: `ending` when it has one; else it is queued, and `why` and `due` tell of its last try.

    `tries` are failed requests, `due` the wall time of the next one. The words of an ending are known only while its copy
    lies with the dead letters.
    """

    ending: Ending | None = None
    tries: int = 0
    due: float | None = None
    why: Ending | None = None


Fates = dict[Number, dict[str, Fate]]


class Window:
    """One look at the store; see the module. Raises sqlite3.Error for a store that cannot be read."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

    def __enter__(self) -> Window:
        for pragma in ("busy_timeout=1000", "query_only=on", "cache_size=-2000"):
            self._db.execute(f"pragma {pragma}").fetchall()
        self._db.execute("begin")
        self._sources: dict[int, str] = dict(self._db.execute("select id, name from source"))
        self._lanes: dict[int, str] = dict(self._db.execute("select id, name from lane"))
        self._ids = {name: id_ for id_, name in self._sources.items()}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def sources(self) -> list[tuple[int, str]]:
        """(id, name) of every source."""
        return list(self._sources.items())

    def newest(
        self, limit: int, after: Mapping[str, int] | None = None, before: Mapping[str, int] | None = None
    ) -> list[Logged]:
        """The newest events of all sources, newest first; `after` and `before` bound the numbers per source (exclusive)."""
        found: list[tuple[float, int]] = []
        for id_, name in self._sources.items():
            low = row_id(id_, (after or {}).get(name, 0))
            high = row_id(id_, (before or {}).get(name, MASK))
            sql = "select received, id from log where id > ? and id < ? order by id desc limit ?"
            found += self._db.execute(sql, (low, high, limit)).fetchall()
        found.sort(reverse=True)
        return [row for _, id_ in found[:limit] for row in self._row(id_)]

    def rows(self, numbers: Iterable[Number]) -> list[Logged]:
        """These events, as far as they are in the log."""
        known = [(self._ids[source], number) for source, number in numbers if source in self._ids]
        return [row for source, number in known for row in self._row(row_id(source, number))]

    def _row(self, id_: int) -> Iterator[Logged]:
        for label, event_id, received, body in self._db.execute(
            "select label, event_id, received, body from log where id=?", (id_,)
        ):
            yield Logged(self._sources[id_ >> SHIFT], id_ & MASK, label, event_id, received, body)

    def fates(self, numbers: Iterable[Number]) -> Fates:
        """How events stand in each lane that reads their source; a lane that began after an event is left out."""
        by_source: defaultdict[int, list[int]] = defaultdict(list)
        fates: Fates = {}
        for name, number in numbers:
            fates[(name, number)] = {}
            if name in self._ids:
                by_source[self._ids[name]].append(number)
        for source, wanted in by_source.items():
            sql = "select lane, start from position where source=?"
            for lane, start in self._db.execute(sql, (source,)).fetchall():
                for number, fate in self._in_lane(lane, source, start, wanted):
                    fates[(self._sources[source], number)][self._lanes[lane]] = fate
        return fates

    def _in_lane(self, lane: int, source: int, start: int, wanted: list[int]) -> Iterator[tuple[int, Fate]]:
        lo, hi = min(wanted), max(wanted)
        codes, waiting, letters = self._codes(lane, source, lo, hi), self._waiting(lane, source, lo, hi), None
        for number in wanted:
            if number in waiting:
                yield number, waiting[number]
            elif number in codes:
                ending = Ending(*ENDINGS[codes[number]])
                if not ending.keeps_event:
                    yield number, Fate(ending)
                    continue
                letters = self._letters(lane, source, lo, hi) if letters is None else letters
                detail, tries = letters.get(number, ("", 0))
                yield number, Fate(Ending(ending.outcome, ending.reason, detail), tries)
            elif number >= start:
                yield number, Fate()

    def _codes(self, lane: int, source: int, lo: int, hi: int) -> dict[int, int]:
        before = "select lo, hi, code from run where lane=? and source=? and lo<=? order by lo desc limit 1"
        within = "select lo, hi, code from run where lane=? and source=? and lo>? and lo<=?"
        runs = self._db.execute(before, (lane, source, lo)).fetchall()
        runs += self._db.execute(within, (lane, source, lo, hi)).fetchall()
        codes: dict[int, int] = {}
        for run_lo, run_hi, code in runs:
            if code in ENDINGS:
                codes.update(dict.fromkeys(range(max(run_lo, lo), min(run_hi, hi) + 1), code))
        return codes

    def _waiting(self, lane: int, source: int, lo: int, hi: int) -> dict[int, Fate]:
        sql = "select id & ?, tries, due, why, why_detail from retry where lane=? and id between ? and ?"
        rows = self._db.execute(sql, (MASK, lane, row_id(source, lo), row_id(source, hi)))
        return {
            number: Fate(None, tries, due, Ending(*ENDINGS[why], detail or "") if why in ENDINGS else None)
            for number, tries, due, why, detail in rows
        }

    def _letters(self, lane: int, source: int, lo: int, hi: int) -> dict[int, tuple[str, int]]:
        sql = "select number, detail, tries from dead where lane=? and source=? and number between ? and ?"
        return {number: (detail, tries) for number, detail, tries in self._db.execute(sql, (lane, source, lo, hi))}

    def firings(self, after: int, limit: int) -> list[tuple[int, Firing]]:
        """The newest requests with their ids, newest first, of those after an id."""
        rows: list[tuple[Any, ...]] = self._db.execute(_FIRINGS, (after, limit)).fetchall()
        return [
            (id_, Firing(lane, at, status, ms, request, answer, _listed(events), error))
            for id_, lane, at, status, ms, request, answer, error, events in rows
        ]

    def named_by_sender(self, source: str, event_id: str) -> bool:
        """Whether the id came from the sender (remembered for at least 48 h)."""
        sql = "select 1 from seen where source=? and id=? limit 1"
        return self._db.execute(sql, (self._ids.get(source, -1), event_id)).fetchone() is not None


def _listed(text: str) -> tuple[tuple[str, int, str], ...]:
    return tuple((source, number, id_) for source, number, id_ in orjson.loads(text))
