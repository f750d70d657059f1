"""Queue again: replays from the log and from the dead letters (design §6, §7).

What is queued again loses its old outcome in the same transaction: its number leaves the runs, the counter goes down, its dead
letter goes away, and a retry row due at once takes its place. An event from before the lane's start counts as back-filled
the first time. What is delivered or queued there already is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.outcomes import CODES, Outcome
from gateway.queue.append import append
from gateway.queue.base import NewEvent, RetryState
from gateway.queue.runs import Run
from gateway.queue.schema import MASK, NO_LANE, checksum, row_id, weight
from gateway.queue.settle import Copy, insert_waiting, state_columns
from gateway.queue.stage import Stage

DELIVERED_CODE = CODES[(Outcome.DELIVERED, "")]
_LETTER = "select id, lane, source, number, event_id, label, code, received, body, crc from dead where id=?"
SHIFT_SLICE = 1000
"""Retry rows that one transaction moves along with the clock."""
Letter = tuple[int, int, int, int, str, str, int, float, bytes, int]


def replay_slice(stage: Stage, lane: int, source: int, lo: int, hi: int, since: float) -> tuple[int, int]:
    """Queue events lo..hi of the log again for a lane where due; returns how many and the last number looked at."""
    sql = "select id, label from log where id between ? and ? and received >= ? order by id"
    rows = stage.db.all(sql, (row_id(source, lo), row_id(source, hi), since))
    if not rows:
        return 0, hi
    stage.write_runs()
    position = stage.position(lane, source)
    codes = codes_between(stage, lane, source, lo, hi)
    sql = "select id from retry where lane=? and id between ? and ?"
    waiting = {id_ for (id_,) in stage.db.all(sql, (lane, row_id(source, lo), row_id(source, hi)))}
    queued = 0
    for id_, label in rows:
        number = id_ & MASK
        code = codes.get(number)
        if id_ in waiting or code == DELIVERED_CODE or not position.covers(number):
            continue
        if code is not None:
            take_back(stage, lane, source, number, label, code)
        elif number < position.start:
            position.backfilled += 1
        else:
            continue
        queue_again(stage, lane, source, number)
        queued += 1
    return queued, hi


def take_back(stage: Stage, lane: int, source: int, number: int, label: str, code: int) -> None:
    """Undo an outcome: its run, its counter and the dead letter it left."""
    uncover_run(stage, lane, source, number)
    letters = stage.db.all(
        "select id, event_id, label, body from dead where lane=? and source=? and number=?", (lane, source, number)
    )
    for letter, event_id, kept_label, body in letters:
        stage.db.execute("delete from dead where id=?", (letter,))
        stage.source(source).bytes -= weight(event_id, body)
        label = kept_label
    stage.count(lane, source, label, code, -1)


def queue_again(stage: Stage, lane: int, source: int, number: int, copy: Copy | None = None) -> None:
    """A retry row that is due at once and knows of no try."""
    state = RetryState(due=stage.now)
    insert_waiting(stage, lane, source, number, state_columns(state, None, stage.token()), copy)
    stage.wake(lane, source, stage.now)


def shift_waits(stage: Stage, lane_name: str, seconds: float, above: int) -> int | None:
    """Move a slice of a lane's retry rows along with the clock; returns where to go on, None at the end."""
    lane = stage.memory.lane_ids[lane_name]
    rows = stage.db.all("select id, source from retry where lane=? and id>? order by id limit ?", (lane, above, SHIFT_SLICE))
    if not rows:
        return None
    last: int = rows[-1][0]
    stage.db.execute(
        """update retry set due=max(?, due+?), first_at=case when first_at then first_at+? else 0.0 end
        where lane=? and id>? and id<=?""",
        (stage.now, seconds, seconds, lane, above, last),
    )
    for source in {source for _, source in rows}:
        stage.wake(lane, source, stage.now)
    return last if len(rows) == SHIFT_SLICE else None


def codes_between(stage: Stage, lane: int, source: int, lo: int, hi: int) -> dict[int, int]:
    """number → code of what is settled in lo..hi."""
    codes: dict[int, int] = {}
    for run_lo, run_hi, code in runs_between(stage, lane, source, lo, hi):
        codes.update(dict.fromkeys(range(max(run_lo, lo), min(run_hi, hi) + 1), code))
    return codes


def runs_between(stage: Stage, lane: int, source: int, lo: int, hi: int) -> list[Run]:
    """The runs that touch lo..hi."""
    before = "select lo, hi, code from run where lane=? and source=? and lo<=? order by lo desc limit 1"
    first = stage.db.one(before, (lane, source, lo))
    within = "select lo, hi, code from run where lane=? and source=? and lo>? and lo<=?"
    found: list[Run] = stage.db.all(within, (lane, source, lo, hi))
    return [first, *found] if first and first[1] >= lo else found


def uncover_run(stage: Stage, lane: int, source: int, number: int) -> int | None:
    """Take a number out of the run it is in; returns the code it had, None when it was in none."""
    for lo, hi, code in runs_between(stage, lane, source, number, number):
        stage.db.execute("delete from run where lane=? and source=? and lo=?", (lane, source, lo))
        pieces = [(lane, source, a, b, code) for a, b in ((lo, number - 1), (number + 1, hi)) if a <= b]
        if pieces:
            stage.db.executemany("insert into run(lane, source, lo, hi, code) values(?, ?, ?, ?, ?)", pieces)
        stage.position(lane, source).tail = None
        return code
    return None


def replay_letters(stage: Stage, ids: Sequence[int]) -> int:
    """Queue dead letters again; damaged ones stay where they are. Returns how many."""
    stage.write_runs()
    replayed = 0
    for id_ in ids:
        letter: Letter | None = stage.db.one(_LETTER, (id_,))
        if letter is None:
            continue
        _, lane, source, number, event_id, label, code, received, body, crc = letter
        if crc != checksum(number, received, label, event_id, body):
            continue
        stage.db.execute("delete from dead where id=?", (id_,))
        stage.source(source).bytes -= weight(event_id, body)
        stage.count(lane, source, label, code, -1)
        if lane == NO_LANE:
            log_conflict(stage, source, event_id, label, received, body)
        else:
            uncover_run(stage, lane, source, number)
            copied = (label, received, event_id, body, checksum(row_id(source, number), received, label, event_id, body))
            queue_again(stage, lane, source, number, copied)
        replayed += 1
    return replayed


def log_conflict(stage: Stage, source: int, event_id: str, label: str, received: float, body: bytes) -> None:
    """A duplicate that conflicted becomes an event after all, for every lane, under its own id."""
    name = stage.source(source).name
    append(stage, [NewEvent(name, label, label, event_id, body, received)])
    stage.source(source).accepted -= 1


def first_since(stage: Stage, source: int, since: float) -> int:
    """A number at or before the first event received since a time; arrival times may be an hour out of order."""
    state = stage.source(source)
    lo, hi = state.floor, state.head + 1
    while lo < hi:
        middle = (lo + hi) // 2
        row = stage.db.one(
            "select id, received from log where id between ? and ? order by id limit 1",
            (row_id(source, middle), row_id(source, hi - 1)),
        )
        if row is None or row[1] >= since - 3600:
            hi = middle
        else:
            lo = (row[0] & MASK) + 1
    return lo
