"""Settle: what a lane found out becomes outcomes, retry rows and dead letters, in one transaction (design §0.2, §6).

A verdict counts only while its event is still the lane's to settle: fresh events must not be covered by the position, retried
ones must still have the very retry row they were taken with. Anything else was overtaken (by retention, erasure, a
replay, or an earlier verdict), changes nothing and is counted as late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.outcomes import ENDINGS, Ending, Outcome, worst
from gateway.queue.append import DAMAGED_LABEL, bury
from gateway.queue.base import RetryState, Settlement
from gateway.queue.schema import row_id, weight
from gateway.queue.stage import Stage

UNREADABLE = Ending(Outcome.DEAD, "mapping", "stored row failed its checksum")
_ROW = """select token, tries, first_at, worst, worst_detail, event_id, body from retry where lane=? and id=?"""
_UPDATE = """update retry set due=?, tries=?, first_at=?, parts=?, worst=?, worst_detail=?, alone=?, why=?, why_detail=?,
    token=? where lane=? and id=?"""
_INSERT = """insert into retry(due, tries, first_at, parts, worst, worst_detail, alone, why, why_detail, token, lane, id,
    source, since, label, received, event_id, body, crc) values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the retry row of an event says; `copied` are the bytes of the copy it carries."""

    token: int
    tries: int
    first_at: float
    worst: Ending | None
    copied: int


def settle(stage: Stage, lane_name: str, settlements: Sequence[Settlement]) -> int:
    """Record what is still open; returns how many came late."""
    lane = stage.memory.lane_ids[lane_name]
    ids, late = stage.memory.source_ids, 0
    counts: dict[tuple[int, str, int], int] = {}
    last, code = None, 0
    for settlement in settlements:
        taken, ending = settlement.taken, settlement.ending
        source = ids[taken.source]
        stage.landed.append((lane, source, taken.seq, taken.token))
        if taken.token or ending is None or (ending is not last and ending.keeps_event):
            late += _settle_with_care(stage, lane, source, settlement)
            continue
        position = stage.position(lane, source)
        if not is_open(stage, lane, source, settlement, None):
            position.late += 1
            late += 1
            continue
        if ending is not last:
            last, code = ending, ending.code
        stage.settled(lane, source, taken.seq, code)
        position.cover(taken.seq)
        counts[(source, taken.label, code)] = counts.get((source, taken.label, code), 0) + 1
    for (source, label, of), n in counts.items():
        stage.count(lane, source, label, of, n)
    return late


def _settle_with_care(stage: Stage, lane: int, source: int, settlement: Settlement) -> bool:
    """Settle what has a retry row, needs one, or keeps a copy; True when it came late."""
    taken = settlement.taken
    waiting = waiting_row(stage, lane, source, taken.seq) if taken.token else None
    if not is_open(stage, lane, source, settlement, waiting):
        stage.position(lane, source).late += 1
        return True
    if settlement.ending is not None:
        finish(stage, lane, source, settlement, waiting)
    elif settlement.retry is not None:
        put_off(stage, lane, source, settlement, settlement.retry, waiting)
    else:
        raise ValueError("a settlement has either an ending or a retry")
    return False


def is_open(stage: Stage, lane: int, source: int, settlement: Settlement, waiting: Waiting | None) -> bool:
    """Whether a verdict still finds its event without an outcome."""
    taken = settlement.taken
    if taken.token:
        return waiting is not None and waiting.token == taken.token
    return not stage.position(lane, source).covers(taken.seq)


def finish(stage: Stage, lane: int, source: int, settlement: Settlement, waiting: Waiting | None) -> None:
    """Write an outcome: the worst of all parts."""
    taken = settlement.taken
    ending = worst(waiting.worst if waiting else None, settlement.ending)
    if ending is None:
        raise ValueError("an ending is missing")
    damaged = ending == UNREADABLE
    label = DAMAGED_LABEL if damaged else taken.label
    if waiting:
        remove_waiting(stage, lane, source, taken.seq, waiting.copied)
    record(stage, lane, source, taken.seq, label, ending.code)
    if ending.keeps_event:
        failed = ending.outcome in (Outcome.REJECTED, Outcome.DEAD)
        tries = (waiting.tries if waiting else 0) + failed
        first_at = waiting.first_at if waiting and waiting.first_at else stage.now
        kept = (taken.seq, settlement.event_id, label, ending, tries, first_at, float(taken.received), taken.body)
        bury(stage, lane, source, *kept, damaged=damaged)


def record(stage: Stage, lane: int, source: int, number: int, label: str, code: int) -> None:
    """The outcome itself: the code of the number, the position and the counter."""
    stage.settled(lane, source, number, code)
    stage.position(lane, source).cover(number)
    stage.count(lane, source, label, code)


def put_off(stage: Stage, lane: int, source: int, settlement: Settlement, retry: RetryState, waiting: Waiting | None) -> None:
    """Write or rewrite the retry row, which keeps the worst ending of the parts that are done."""
    number = settlement.taken.seq
    columns = state_columns(retry, worst(waiting.worst if waiting else None, retry.worst), stage.token())
    if waiting:
        stage.db.execute(_UPDATE, (*columns, lane, row_id(source, number)))
    else:
        insert_waiting(stage, lane, source, number, columns)
        stage.position(lane, source).cover(number)
    stage.wake(lane, source, retry.due)


def state_columns(retry: RetryState, worst_yet: Ending | None, token: int) -> tuple[Any, ...]:
    """A RetryState as columns of its row."""
    parts = None if retry.parts is None else ",".join(map(str, retry.parts))
    return (
        retry.due,
        retry.tries,
        retry.first_at,
        parts,
        *ending_columns(worst_yet),
        retry.alone,
        *ending_columns(retry.why),
        token,
    )


def ending_columns(ending: Ending | None) -> tuple[int | None, str | None]:
    """An ending as (code, detail)."""
    return (ending.code, ending.detail) if ending else (None, None)


def ending_of(code: int | None, detail: str | None) -> Ending | None:
    """(code, detail) as an ending; None for none, and for a code that a damaged row made up."""
    return None if code is None or code not in ENDINGS else Ending(*ENDINGS[code], detail or "")


Copy = tuple[str, float, str, bytes, int]
"""(label, received, event id, body, checksum) of an event whose log row may be gone."""


def insert_waiting(
    stage: Stage, lane: int, source: int, number: int, columns: tuple[Any, ...], copy: Copy | None = None
) -> None:
    """A new retry row, with a copy of the event where the log cannot serve it."""
    place = (lane, row_id(source, number), source, stage.now)
    stage.db.execute(_INSERT, (*columns, *place, *(copy or (None,) * 5)))
    stage.position(lane, source).retrying += 1
    if copy:
        stage.source(source).bytes += weight(copy[2], copy[3])


def waiting_row(stage: Stage, lane: int, source: int, number: int) -> Waiting | None:
    """The retry row of an event, as this transaction sees it."""
    row = stage.db.one(_ROW, (lane, row_id(source, number)))
    if row is None:
        return None
    token, tries, first_at, code, detail, event_id, body = row
    copied = 0 if body is None else weight(event_id, body)
    return Waiting(token, tries, first_at, ending_of(code, detail), copied)


def remove_waiting(stage: Stage, lane: int, source: int, number: int, copied: int) -> None:
    """Delete a retry row with the copy it carries."""
    stage.db.execute("delete from retry where lane=? and id=?", (lane, row_id(source, number)))
    stage.position(lane, source).retrying -= 1
    if copied:
        stage.source(source).bytes -= copied
