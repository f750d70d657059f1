"""Planted bugs: each makes the store wrong in one way that a plausible change to it could.

test_store_model.py demands that the model notices every one of them. A bug is a function that patches the store through
pytest's `monkeypatch`; its name says what goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.outcomes import Ending, Outcome
from gateway.queue import append, contexts, erase, lanes, memory, personal, requeue, retention, settle, take
from gateway.queue.base import Settlement, Taken
from gateway.queue.core import Core
from gateway.queue.memory import Position
from gateway.queue.schema import row_id
from gateway.queue.stage import Stage

Patch = pytest.MonkeyPatch
BUGS: list[Callable[[Patch], None]] = []


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Put a bug on the list."""
    BUGS.append(plant)
    return plant


def around(patch: Patch, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function of the store by one made from it."""
    patch.setattr(owner, name, make(getattr(owner, name)))


@bug
def settlement_split_over_two_transactions(patch: Patch) -> None:
    def make(settle_all: Any) -> Any:
        def broken(stage: Stage, lane: str, settlements: Sequence[Settlement]) -> int:
            late: int = settle_all(stage, lane, settlements)
            stage.db.executemany(
                "insert into counter values(?, ?, ?, ?, ?) on conflict do update set n = n + excluded.n",
                [(*key, n) for key, n in stage.counts.items()],
            )
            stage.db.commit()
            for key, n in stage.counts.items():
                stage.memory.counters[key] = stage.memory.counters.get(key, 0) + n
            stage.counts.clear()
            stage.db.begin()
            return late

        return broken

    around(patch, settle, "settle", make)


@bug
def memory_changed_before_the_commit(patch: Patch) -> None:
    def prepare(core: Core, stage: Stage) -> None:
        stage.flush()
        stage.apply()

    patch.setattr(Core, "prepare", prepare)
    patch.setattr(Core, "applied", lambda core, stage: None)


@bug
def done_ranges_not_read_on_restart(patch: Patch) -> None:
    patch.setattr(memory, "settled_above", lambda *place: iter(()))


@bug
def runs_above_the_cursor_read_but_not_the_retry_rows(patch: Patch) -> None:
    def broken(connection: Any, lane: int, source: int, cursor: int) -> Any:
        sql = "select lo, hi from run where lane=? and source=? and lo>=?"
        return connection.execute(sql, (lane, source, cursor)).fetchall()

    patch.setattr(memory, "settled_above", broken)


@bug
def retention_blind_to_retry_rows(patch: Patch) -> None:
    patch.setattr(retention, "_WAITING", "select id from retry where lane=? and id between ? and ? and 0")


@bug
def event_settled_while_a_part_still_waits(patch: Patch) -> None:
    def make(put_off: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, settlement: Settlement, retry: Any, waiting: Any) -> None:
            if retry.worst:
                ended = Settlement(settlement.taken, settlement.event_id, retry.worst)
                settle.finish(stage, lane, source, ended, waiting)
            else:
                put_off(stage, lane, source, settlement, retry, waiting)

        return broken

    around(patch, settle, "put_off", make)


@bug
def worst_part_forgotten(patch: Patch) -> None:
    patch.setattr(settle, "worst", lambda before, now: now or before)


@bug
def worst_part_forgotten_when_put_off_again(patch: Patch) -> None:
    patch.setattr(settle, "_UPDATE", settle._UPDATE.replace("worst=?, worst_detail=?", "worst=? & null, worst_detail=?"))


@bug
def replay_that_does_not_subtract(patch: Patch) -> None:
    def make(take_back: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, number: int, label: str, code: int) -> None:
            take_back(stage, lane, source, number, label, code)
            stage.count(lane, source, label, code)

        return broken

    around(patch, requeue, "take_back", make)


@bug
def replay_that_leaves_the_dead_letter(patch: Patch) -> None:
    def broken(stage: Stage, lane: int, source: int, number: int, label: str, code: int) -> None:
        requeue.uncover_run(stage, lane, source, number)
        stage.count(lane, source, label, code, -1)

    patch.setattr(requeue, "take_back", broken)


@bug
def replay_repeats_what_is_delivered(patch: Patch) -> None:
    patch.setattr(requeue, "DELIVERED_CODE", -1)


@bug
def backfill_not_counted(patch: Patch) -> None:
    def make(replay_slice: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, *rest: Any) -> Any:
            before = stage.position(lane, source).backfilled
            result = replay_slice(stage, lane, source, *rest)
            stage.position(lane, source).backfilled = before
            return result

        return broken

    around(patch, requeue, "replay_slice", make)


@bug
def heads_not_stored(patch: Patch) -> None:
    def make(flush: Any) -> Any:
        def broken(stage: Stage) -> None:
            heads = [(stage.memory.sources[s].head if s in stage.memory.sources else 0, s) for s in stage.sources]
            flush(stage)
            stage.db.executemany("update source set head=? where id=?", heads)

        return broken

    around(patch, Stage, "flush", make)


@bug
def late_verdict_on_a_fresh_event_counted(patch: Patch) -> None:
    def make(is_open: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, settlement: Settlement, waiting: Any) -> bool:
            return settlement.taken.token == 0 or is_open(stage, lane, source, settlement, waiting)

        return broken

    around(patch, settle, "is_open", make)


@bug
def late_verdict_settles_a_newer_retry_row(patch: Patch) -> None:
    def make(is_open: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, settlement: Settlement, waiting: Any) -> bool:
            return waiting is not None or is_open(stage, lane, source, settlement, waiting)

        return broken

    around(patch, settle, "is_open", make)


@bug
def ids_remembered_before_the_commit(patch: Patch) -> None:
    def make(receipts: Any) -> Any:
        def broken(stage: Stage, events: Any) -> Any:
            found = receipts(stage, events)
            stage.db.commit()
            stage.db.begin()
            return found

        return broken

    around(patch, append, "_receipts", make)


@bug
def counters_not_in_the_same_transaction(patch: Patch) -> None:
    def prepare(core: Core, stage: Stage) -> None:
        counts = dict(stage.counts)
        stage.counts.clear()
        stage.flush()
        stage.counts.update(counts)

    def make(applied: Any) -> Any:
        def broken(core: Core, stage: Stage) -> None:
            core.db.begin()
            core.db.executemany(
                "insert into counter values(?, ?, ?, ?, ?) on conflict do update set n = n + excluded.n",
                [(*key, n) for key, n in stage.counts.items()],
            )
            core.db.connection.execute("commit")
            applied(core, stage)

        return broken

    patch.setattr(Core, "prepare", prepare)
    around(patch, Core, "applied", make)


@bug
def erase_that_leaves_a_retry_copy(patch: Patch) -> None:
    patch.setattr(erase, "erase_copies", lambda stage, person, after: None)


@bug
def erase_that_leaves_the_queued_event_queued(patch: Patch) -> None:
    patch.setattr(erase, "_end", lambda stage, source, number, label: None)


@bug
def cursor_runs_past_events_in_flight(patch: Patch) -> None:
    def broken(position: Position, number: int) -> None:
        position.cursor = max(position.cursor, number + 1)
        position.cursor = position.done.shift(position.cursor)

    patch.setattr(Position, "cover", broken)


@bug
def released_events_not_read_again(patch: Patch) -> None:
    def broken(held: Any, lane: Any, taken: Sequence[Taken]) -> None:
        for one in taken:
            lane.reading[held.source_ids[one.source]].flying.pop(one.seq, None)

    patch.setattr(take, "release", broken)


@bug
def settled_codes_thrown_away_with_a_neighbour(patch: Patch) -> None:
    def broken(stage: Stage, lane: int, source: int, number: int) -> None:
        sql = "delete from run where lane=? and source=? and lo<=? and hi>=?"
        stage.db.execute(sql, (lane, source, number, number))
        stage.position(lane, source).tail = None

    patch.setattr(requeue, "uncover_run", broken)


@bug
def new_lane_counts_from_the_beginning(patch: Patch) -> None:
    def make(open_lane: Any) -> Any:
        def broken(stage: Stage, name: str, sources: Sequence[str]) -> None:
            for source in sources:
                if stage.memory.source_ids.get(source):
                    stage.source(stage.source_id(source)).logged = 0
            open_lane(stage, name, sources)

        return broken

    around(patch, lanes, "open_lane", make)


@bug
def personal_data_stripped_from_queued_events(patch: Patch) -> None:
    patch.setattr(personal, "settled_rows", lambda stage, source, rows: list(rows))


@bug
def copies_not_counted_in_the_byte_limit(patch: Patch) -> None:
    def make(insert_waiting: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, number: int, columns: Any, copy: Any = None) -> None:
            before = stage.source(source).bytes
            insert_waiting(stage, lane, source, number, columns, copy)
            stage.source(source).bytes = before

        return broken

    around(patch, requeue, "insert_waiting", make)


@bug
def queued_events_leave_before_settled_ones(patch: Patch) -> None:
    patch.setattr(retention, "_settled_first", lambda stage, over, scanned: 0)


@bug
def retry_row_not_woken(patch: Patch) -> None:
    patch.setattr(Stage, "wake", lambda stage, lane, source, due: None)


@bug
def stale_checksum_of_a_stripped_event(patch: Patch) -> None:
    patch.setattr(personal, "checksum", lambda id_, received, label, event_id, body: 0)


@bug
def withdrawal_not_stored(patch: Patch) -> None:
    patch.setattr("gateway.queue.withdrawals._UPSERT", "select ?, ?, ?, ?")


@bug
def dead_letter_without_an_outcome(patch: Patch) -> None:
    def make(record: Any) -> Any:
        def broken(stage: Stage, lane: int, source: int, number: int, label: str, code: int) -> None:
            if code == Ending(Outcome.SKIPPED, "incomplete").code:
                stage.settled(lane, source, number, code)
                stage.position(lane, source).cover(number)
            else:
                record(stage, lane, source, number, label, code)

        return broken

    around(patch, settle, "record", make)


@bug
def retry_row_survives_its_outcome(patch: Patch) -> None:
    def broken(stage: Stage, lane: int, source: int, number: int, copied: int) -> None:
        sql = "update retry set due = due + 1e9 where lane=? and id=?"
        stage.db.execute(sql, (lane, row_id(source, number)))
        stage.position(lane, source).retrying -= 1
        stage.source(source).bytes -= copied

    patch.setattr(settle, "remove_waiting", broken)


@bug
def context_written_though_the_commit_fails(patch: Patch) -> None:
    def make(keep: Any) -> Any:
        def broken(stage: Stage, events: Sequence[Any]) -> None:
            keep(stage, events)
            stage.db.commit()
            stage.db.begin()

        return broken

    around(patch, contexts, "keep", make)


@bug
def erasure_blind_to_contexts(patch: Patch) -> None:
    patch.setattr(contexts, "erase", lambda stage, person, above: None)


@bug
def purge_that_takes_young_contexts(patch: Patch) -> None:
    around(patch, contexts, "forget", lambda forget: lambda stage, before: forget(stage, before, 1))
