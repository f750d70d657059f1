"""The store's core driven beside the oracle, with faults at any step.

`World` performs one operation on both, under a fault if one is drawn: the process dies before some step (the files are copied
as they are at that moment and opened anew), a statement or the COMMIT fails while the process lives on, or the process dies
right after the COMMIT. After each operation everything the store shows must be what the oracle recounts.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.clock import FrozenClock
from gateway.outcomes import Ending, Outcome
from gateway.queue import (
    append,
    audit,
    contexts,
    deadletters,
    erase,
    firing,
    lanes,
    personal,
    remembered,
    requeue,
    retention,
    withdrawals,
)
from gateway.queue import settle as settling
from gateway.queue import take as taking
from gateway.queue.base import Context, DeadFilter, Firing, NewEvent, RetryState, Settlement, Withdrawal
from gateway.queue.core import Core, Limits, named_counters
from gateway.queue.stage import Stage
from tests.store_oracle import PERSONS, Flight, Oracle, bare, body_of, letter_key

NOW = 1_795_514_400.0
SOURCES = ("shop", "app")
LANES = ("meta", "ga4")
LABELS = ("purchase", "page_view")
HOUR = 3600.0
PERSONAL_AGE = 15 * HOUR
MOST_WEIGHT = 400
"""No event or copy of these tests weighs more."""
ENDINGS = [
    Ending(Outcome.DELIVERED),
    Ending(Outcome.DELIVERED),
    Ending(Outcome.SKIPPED, "consent"),
    Ending(Outcome.SKIPPED, "incomplete", "no currency"),
    Ending(Outcome.REJECTED, "vendor_4xx", "no"),
    Ending(Outcome.DEAD, "timeout"),
    Ending(Outcome.WITHDRAWN),
]


class CrashError(Exception):
    """The process died here."""


class World:
    """The store and the truth, side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FrozenClock(NOW)
        self.oracle = Oracle()
        self.flights: list[Flight] = []
        self.fault: tuple[str, int] = ("none", 0)
        self.steps = 0
        self.lives = 0
        self.ids = 0
        self.active: dict[str, list[str]] = {}
        self.file = folder / "0.db"
        self.core = self._start()

    # one operation under a fault

    def attempt(self, operation: Callable[[Stage], Any]) -> tuple[bool, Any]:
        """Run it as one transaction; returns whether it was committed, and its result when the process lives on."""
        self.steps = 0
        try:
            return True, self.core.run(operation)
        except CrashError as crash:
            self._come_back()
            return str(crash) == "committed", None
        except sqlite3.OperationalError as error:
            if "injected" not in str(error):
                raise
            return False, None
        finally:
            self.fault = ("none", 0)

    def _hook(self, step: str) -> None:
        kind, at = self.fault
        if kind == "none":
            return
        due = step == kind or (kind in ("crash", "fail") and self.steps == at) or (kind == "commit fails" and step == "commit")
        self.steps += 1
        if not due:
            return
        self.fault = ("none", 0)
        if kind in ("crash", "committed"):
            self._copy_files()
            raise CrashError(step)
        if step != "committed":
            raise sqlite3.OperationalError("injected")

    def _copy_files(self) -> None:
        self.lives += 1
        self.next_file = self.folder / f"{self.lives}.db"
        for suffix in ("", "-wal"):
            held = Path(f"{self.file}{suffix}")
            if held.exists():
                shutil.copyfile(held, f"{self.next_file}{suffix}")

    def _come_back(self) -> None:
        self.core.close()
        self.file = self.next_file
        self._restart()

    def _start(self) -> Core:
        return Core(self.file, self.clock, synchronous="off", hook=self._hook)

    def _restart(self) -> None:
        self.core = self._start()
        self.flights.clear()
        for lane, sources in self.active.items():
            lanes.activate(self.core.memory, lane, sources)

    def reopen(self) -> None:
        """A clean end and a new start."""
        self.core.close()
        self._restart()

    # operations

    def append(self, drawn: list[tuple[int, int, int, int, bool]]) -> None:
        """(source, id, content, person, whether the client gave the id)"""
        events = [self._event(*one) for one in drawn]
        committed, receipts = self.attempt(lambda stage: append.append(stage, events))
        if committed:
            expected = self.oracle.append(events, self.clock.now())
            assert receipts is None or [str(r) for r in receipts] == expected

    def _event(self, source: int, id_: int, content: int, person: int, given: bool) -> NewEvent:
        self.ids += 1
        name = LABELS[content % 2]
        key = f"id-{id_}" if given else f"made-{self.ids}"
        body = body_of(content, PERSONS[person], content * 7)
        left = (Context(b"%d-%d" % (source, id_ % 3), b'{"n":%d}' % self.ids),) if content % 3 else ()
        return NewEvent(SOURCES[source], name, name, key, body, self.clock.now(), given, b"%08d" % content, left)

    def open_lane(self, lane: str, sources: list[str]) -> None:
        """As the gateway does at every start and reload."""
        committed, _ = self.attempt(lambda stage: lanes.open_lane(stage, lane, sources))
        if committed:
            self.oracle.open_lane(lane, sources)
            self.active[lane] = sources
            lanes.activate(self.core.memory, lane, sources)
            for flight in self.flights:
                flight.flying &= flight.lane != lane

    def take(self, lane: str, limit: int) -> None:
        """What is handed out must be what the truth says is free, and enough of it."""
        fresh, due = self._free(lane)
        state = self.core.memory.lanes[self.core.memory.lane_ids[lane]]
        assert bool(fresh or due) <= taking.has_work(self.core.memory, state, self.clock.now())
        taken, damaged = self.core.take(lane, limit)
        assert not damaged
        for one in taken:
            key = (one.source, one.seq)
            status = self.oracle.status(lane, *key)
            event = self.oracle.sources[one.source].events[one.seq]
            assert key in (due if one.retry else fresh), f"{key} was not free"
            assert (one.label, one.received, one.body) == (event.label, event.received, status.copy or event.body)
            assert one.retry == status.retry
            self.flights.append(Flight(lane, one, status.version))
        tried = sum(1 for one in taken if one.retry)
        assert len(taken) == len({(one.source, one.seq) for one in taken})
        assert len(taken) == min(limit, len(fresh) + len(due))
        assert tried >= min(len(due), limit // 2)
        assert len(taken) - tried >= min(len(fresh), limit // 2)

    def _free(self, lane: str) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        held = {(f.taken.source, f.taken.seq, f.version) for f in self.flights if f.lane == lane and f.flying}
        fresh, due = set(), set()
        for of, source, number, status in self.oracle.queued():
            if of != lane or source not in self.active[lane] or (source, number, status.version) in held:
                continue
            if status.retry is None:
                fresh.add((source, number))
            elif status.retry.due <= self.clock.now():
                due.add((source, number))
        return fresh, due

    def settle(self, lane: str, chosen: list[tuple[int, int, int]], together: list[Any] | None = None) -> None:
        """(which flight, which ending or retry, which parts); `together` are events appended in the same transaction."""
        mine = [flight for flight in self.flights if flight.lane == lane]
        flights, settlements = [], []
        for which, ending, parts in chosen:
            if mine:
                flight = mine.pop(which % len(mine))
                flights.append(flight)
                settlements.append(self._settlement(flight, ending, parts))
        events = [self._event(*one) for one in together or []]
        entry = tuple((f.taken.source, f.taken.seq, s.event_id) for f, s in zip(flights, settlements, strict=True))
        fired = Firing(lane, self.clock.now(), 200, 1.0, "POST", "ok", entry)

        def operation(stage: Stage) -> int:
            if events:
                append.append(stage, events)
            firing.record(stage, [fired])
            return settling.settle(stage, lane, settlements)

        committed, late = self.attempt(operation)
        if committed:
            self.oracle.append(events, self.clock.now())
            expected = self.oracle.settle(flights, settlements, self.clock.now())
            assert late is None or late == expected
            self.flights = [f for f in self.flights if f not in flights]

    def _settlement(self, flight: Flight, ending: int, parts: int) -> Settlement:
        event_id = self.oracle.sources[flight.taken.source].events[flight.taken.seq].id
        if ending < len(ENDINGS):
            return Settlement(flight.taken, event_id, ENDINGS[ending])
        before = flight.taken.retry
        worst = ENDINGS[parts] if parts < len(ENDINGS) else None
        state = RetryState(
            due=self.clock.now() + (0.0, 1.0, 500.0)[parts % 3],
            tries=(before.tries if before else 0) + 1,
            first_at=before.first_at if before and before.first_at else self.clock.now(),
            parts=None if worst is None else (parts, parts + 1),
            worst=worst,
            alone=bool(parts % 2),
            why=Ending(Outcome.DEAD, "rate", "slow down"),
        )
        return Settlement(flight.taken, event_id, retry=state)

    def settle_again(self, flight: Flight, ending: int) -> None:
        """A verdict that comes twice, or after the event was overtaken."""
        self.flights.append(flight)
        index = len([f for f in self.flights if f.lane == flight.lane]) - 1
        self.settle(flight.lane, [(index, ending, 0)])

    def release(self, lane: str, which: int) -> None:
        """Give back every second, beginning with one or the other."""
        mine = [flight for flight in self.flights if flight.lane == lane and flight.flying]
        given = mine[which % 2 :: 2]
        memory = self.core.memory
        taking.release(memory, memory.lanes[memory.lane_ids[lane]], [flight.taken for flight in given])
        self.flights = [flight for flight in self.flights if flight not in given]

    def replay(self, lane: str, source: str, since: float) -> None:
        """A back-fill, slice by slice, until it ends or the process does."""
        memory = self.core.memory
        place = (memory.lane_ids[lane], memory.source_ids[source])
        head = memory.sources[place[1]].head
        fault, self.fault = self.fault, ("none", 0)
        at, alive = requeue.first_since(self.core.begin(), place[1], since), True
        self.core.rollback()
        self.fault = fault
        while at <= head and alive:
            lo, hi = at, min(at + 1, head)
            lives = self.lives
            committed, result = self.attempt(lambda stage, lo=lo, hi=hi: requeue.replay_slice(stage, *place, lo, hi, since))
            if committed:
                queued = self.oracle.replay(lane, source, lo, hi, since, self.clock.now())
                assert result is None or result == (queued, hi)
            at, alive = hi + 1, committed and lives == self.lives

    def replay_letters(self, where: DeadFilter, count: int) -> None:
        """Some letters that a filter means go back."""
        ids = deadletters.matching(self.core.reader, self.core.memory, where)[:count]
        letters = self._letters(ids)
        committed, replayed = self.attempt(lambda stage: requeue.replay_letters(stage, ids))
        if committed:
            assert replayed is None or replayed == len(ids)
            for letter in letters:
                self.oracle.replay_letter(letter, self.clock.now())

    def drop_letters(self, count: int) -> None:
        """The newest letters are deleted."""
        ids = deadletters.matching(self.core.reader, self.core.memory, DeadFilter())[:count]
        letters = self._letters(ids)
        committed, _ = self.attempt(lambda stage: deadletters.drop(stage, ids))
        if committed:
            for letter in letters:
                self.oracle.letters.remove(letter)

    def _letters(self, ids: list[int]) -> list[Any]:
        kept = {x.id: letter_key(x) for x in deadletters.read(self.core.reader, self.core.memory, DeadFilter(limit=10_000))}
        pool = list(self.oracle.letters)
        found = []
        for id_ in ids:
            letter = next(x for x in pool if letter_key(x) == kept[id_])
            pool.remove(letter)
            found.append(letter)
        return found

    def withdraw(self, subject: bytes, at: float) -> None:
        """A restriction of two purposes."""
        purposes = ("ad_storage", "ad_user_data")
        change = Withdrawal(subject, frozenset(purposes), at)
        committed, _ = self.attempt(lambda stage: withdrawals.withdraw(stage, [change]))
        if committed:
            for purpose in purposes:
                self.oracle.withdraw(subject, purpose, at)

    def lift(self, subject: bytes, at: float) -> None:
        """One purpose is granted again."""
        committed, _ = self.attempt(lambda stage: withdrawals.lift(stage, [subject], frozenset(["ad_storage"]), at))
        if committed:
            self.oracle.lift(subject, "ad_storage", at)

    def erase(self, person: str) -> None:
        """Everything of a person; the walks are run without a fault between them."""
        matches = [("user", "email", person)]
        wanted = erase.Person(frozenset(), matches)
        walks: list[tuple[Any, Any]] = [
            (erase.erase_log, 0),
            (erase.erase_copies, (0, 0)),
            (erase.erase_letters, 0),
            (contexts.erase, 0),
        ]
        for piece, at in walks:
            while at is not None:
                committed, at = self.attempt(lambda stage, piece=piece, at=at: piece(stage, wanted, at))
                assert committed
        assert len(wanted.found) + wanted.unnumbered == self.oracle.erase(person)

    def forget_ids(self) -> None:
        """The purge of contexts, and of remembered ids."""
        before = self.clock.now() - 48 * HOUR
        finished = self._until_done(lambda stage: contexts.forget(stage, before))
        held = {key for (key,) in self.core.reader.execute("select key from context")}
        for key in [key for key in self.oracle.contexts if key not in held]:
            assert self.oracle.contexts.pop(key)[2] < before, "a context should have stayed"
        assert not finished or all(kept[2] >= before for kept in self.oracle.contexts.values())
        place: Any = remembered.START
        while place is not None:
            committed, place = self.attempt(lambda stage, at=place: remembered.purge(stage, at, 48 * HOUR, limit=3))
            assert committed
        for source in self.oracle.sources.values():
            source.seen = {key: v for key, v in source.seen.items() if v[1] >= self.clock.now() - 48 * HOUR}

    # retention: what may leave is checked by what is left

    def expire(self, age: float) -> None:
        """Everything older leaves, prefix by prefix."""
        limits = Limits(age=age)
        before = self.clock.now() - age
        finished = self._until_done(lambda stage: retention.by_age(stage, limits))
        self._rows_left("retention", lambda event: event.received < before)
        expired = Ending(Outcome.EXPIRED, "retention")
        self._copies_left(expired, lambda since: since < before)
        self._letters_left(lambda letter: letter.at < before)
        if finished:
            first = [next((e for e in s.events.values() if e.in_log), None) for s in self.oracle.sources.values()]
            assert all(event is None or event.received >= before for event in first)
            assert all(status.since >= before for *_, status in self.oracle.queued() if status.copy is not None)
            assert all(letter.at >= before for letter in self.oracle.letters)

    def make_room(self, share: float) -> None:
        """Keep only a share of the bytes: settled events go first, then letters, then the oldest queued."""
        limit = int(self.oracle.bytes() * share)
        limits, scanned = Limits(bytes=limit), {}
        queued_before = {(s, e.number) for s, e in self._events() if self.oracle.needs_log(s, e.number)}
        finished = self._until_done(lambda stage: retention.by_space(stage, limits, scanned))
        left = self._rows_left("space", lambda event: True)
        self._letters_left(lambda letter: True)
        self._copies_left(Ending(Outcome.EXPIRED, "space"), lambda since: True)
        if left & queued_before:
            assert all(self.oracle.needs_log(s, e.number) for s, e in self._events()), "a settled event was kept"
            assert not self.oracle.letters
            newest = max(self.oracle.sources[s].events[n].received for s, n in left & queued_before)
            assert all(e.received >= newest for s, e in self._events()), "an older event was kept"
        if finished:
            assert self.oracle.bytes() <= limit
            assert not left or self.oracle.bytes() + MOST_WEIGHT > limit, "too much left"

    def _until_done(self, piece: Callable[[Stage], int]) -> bool:
        while True:
            lives = self.lives
            committed, left = self.attempt(piece)
            if not committed or lives != self.lives:
                return False
            if not left:
                return True

    def _events(self) -> list[tuple[str, Any]]:
        return [(s.name, e) for s in self.oracle.sources.values() for e in s.events.values() if e.in_log]

    def _rows_left(self, reason: str, may: Callable[[Any], bool]) -> set[tuple[str, int]]:
        held = {(source, number) for source, number, _ in self._log_rows()}
        left = set()
        for source, event in self._events():
            if (source, event.number) not in held:
                assert may(event), f"{source}/{event.number} should have stayed"
                event.in_log = False
                left.add((source, event.number))
        for lane, source, number, status in self.oracle.queued():
            if (source, number) in left and status.copy is None:
                self.oracle.end(lane, source, number, Ending(Outcome.EXPIRED, reason))
        return left

    def _copies_left(self, ending: Ending, may: Callable[[float], bool]) -> None:
        rows = self.core.reader.execute(
            "select l.name, s.name, r.id & 1099511627775 from retry r join lane l on l.id=r.lane join source s on s.id=r.source"
        ).fetchall()
        for lane, source, number, status in self.oracle.queued():
            if status.copy is not None and (lane, source, number) not in rows:
                assert may(status.since)
                self.oracle.end(lane, source, number, ending)

    def _letters_left(self, may: Callable[[Any], bool]) -> None:
        letters = deadletters.read(self.core.reader, self.core.memory, DeadFilter(limit=10_000))
        held = [letter_key(letter) for letter in letters]
        for letter in list(self.oracle.letters):
            if letter_key(letter) in held:
                held.remove(letter_key(letter))
            else:
                assert may(letter), "a letter should have stayed"
                self.oracle.letters.remove(letter)

    def strip(self) -> None:
        """Settled events that are old enough, as are all before them, lose personal data."""
        limits = Limits(personal=PERSONAL_AGE)
        finished = self._until_done(lambda stage: personal.strip_new(stage, limits))
        at: int | None = 0 if finished else None
        while at is not None:
            committed, at = self.attempt(lambda stage, at=at: personal.strip_pending(stage, at))
            assert committed
        rows = {(source, number): body for source, number, body in self._log_rows()}
        passed = self._passed(finished)
        for source, event in self._events():
            due = event.number <= passed[source] and not self.oracle.needs_log(source, event.number)
            if due and (finished or rows[(source, event.number)] == bare(event.body)):
                event.body = bare(event.body)

    def _passed(self, finished: bool) -> dict[str, int]:
        """How far stripping got in each source: over old events only, and over all of them when it finished."""
        passed = {}
        before = self.clock.now() - PERSONAL_AGE
        for state in self.core.memory.sources.values():
            truth = self.oracle.source(state.name)
            passed[state.name] = state.bare
            new = [e for e in truth.events.values() if e.in_log and e.number > truth.stripped]
            assert all(e.received < before for e in new if e.number <= state.bare)
            after = [e for e in new if e.number > state.bare]
            assert not finished or not after or after[0].received >= before
            truth.stripped = state.bare
        return passed

    # everything the store shows

    def _log_rows(self) -> list[tuple[str, int, bytes]]:
        sql = "select s.name, l.id & 1099511627775, l.body from log l join source s on s.id = l.id >> 40 order by l.id"
        return self.core.reader.execute(sql).fetchall()

    def check(self) -> None:
        """Store and truth agree."""
        self.fault = ("none", 0)
        memory, oracle = self.core.memory, self.oracle
        assert self._counters() == oracle.counters()
        assert sorted(self._log_rows()) == sorted(oracle.rows())
        letters = deadletters.read(self.core.reader, memory, DeadFilter(limit=10_000))
        assert sorted(map(letter_key, letters)) == sorted(map(letter_key, oracle.letters))
        assert memory.bytes == oracle.bytes()
        held = {(subject, purpose): t for subject, times in memory.withdrawals.items() for purpose, t in times.items()}
        assert held == oracle.withdrawn
        rows = self.core.reader.execute(
            "select c.key, s.name, event_id, at, body from context c join source s on s.id = c.source"
        )
        assert {key: tuple(kept) for key, *kept in rows} == oracle.contexts
        for lane in memory.lane_ids:
            queued = [status for of, *_, status in oracle.queued() if of == lane]
            depth = self.core.depth(lane)
            assert (depth.queued, depth.retrying) == (len(queued), sum(1 for s in queued if s.retry))
        self._check_audit()

    def _counters(self) -> dict[tuple[str, str, str, str, str], int]:
        return {key: n for key, n in named_counters(self.core.memory).items() if n}

    def _check_audit(self) -> None:
        result = audit.audit_file(self.file)
        assert result.problems == ()
        assert result.balanced
        for row in result.sources:
            source = self.oracle.source(row.source)
            totals = {
                r: sum(n for (_, receipt), n in source.counts.items() if receipt == r) for r in ("logged", "same", "conflict")
            }
            assert row.accepted == source.accepted
            assert (row.logged, row.same, row.conflict) == (totals["logged"], totals["same"], totals["conflict"])
        for lane in result.lanes:
            truth = self.oracle.lanes[(lane.lane, lane.source)]
            queued = sum(1 for status in truth.events.values() if status.queued)
            head = self.oracle.sources[lane.source].head
            assert (lane.logged, lane.backfilled) == (head - truth.start + 1, truth.backfilled)
            assert (lane.queued, lane.late) == (queued, truth.late)

    def drain(self) -> None:
        """At the end all that is queued can be delivered, once."""
        self.fault = ("none", 0)
        self.reopen()
        self.clock.advance(1000.0)
        for lane in self.active:
            for _ in range(1000):
                self.take(lane, 7)
                mine = sum(1 for flight in self.flights if flight.lane == lane)
                if not mine:
                    break
                self.settle(lane, [(0, 0, 0)] * mine)
            assert not [x for x in self.oracle.queued() if x[0] == lane and x[1] in self.active[lane]]
        self.check()
