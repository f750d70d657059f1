"""Append: events get numbers, go to the log, and repeats of a client's own id are told apart (design §3, §6).

Whatever was accepted is either logged or a duplicate; both are counted here, at the source and before any lane, and leave
their contexts behind. The ids of a
whole group are remembered with one `insert or ignore`; only when it ignored some is each looked at by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.event import CUSTOM
from gateway.outcomes import Ending, Outcome, Receipt
from gateway.queue import contexts
from gateway.queue.base import NewEvent
from gateway.queue.newest import Row
from gateway.queue.schema import LOGGED_CODE, NO_LANE, SHIFT, checksum, weight
from gateway.queue.stage import Stage

SAME = Ending(Outcome.DUPLICATE, "same")
CONFLICT = Ending(Outcome.DUPLICATE, "conflict", "the same id came before with a different content")
_Row = tuple[int, float, str, str, bytes, int]
_LOG = "insert into log(id, received, label, event_id, body, crc) values(?, ?, ?, ?, ?, ?)"
_SEEN = "insert or ignore into seen(source, id, name, digest, at, number) values(?, ?, ?, ?, ?, ?)"
_DEAD = """insert into dead(lane, source, number, event_id, label, code, detail, tries, first_at, at, received, body, crc)
    values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def append(stage: Stage, events: Sequence[NewEvent]) -> list[Receipt]:
    """Store events in their order; the answer has a receipt for each."""
    receipts = _receipts(stage, events)
    contexts.keep(stage, events)
    rows: list[_Row] = []
    newest: list[tuple[int, Row]] = []
    counts: dict[tuple[int, str], int] = {}
    name, source, state = "", 0, None
    for event, receipt in zip(events, receipts, strict=True):
        of, _, label, event_id, body, received, _, _, _ = event
        if state is None or of != name:
            name, source = of, stage.source_id(of)
            state = stage.source(source)
        state.accepted += 1
        if receipt is not Receipt.LOGGED:
            _keep_duplicate(stage, source, event, receipt)
            continue
        state.head = number = state.head + 1
        state.bytes += weight(event_id, body)
        id_, received = source << SHIFT | number, float(received)
        rows.append((id_, received, label, event_id, body, checksum(id_, received, label, event_id, body)))
        newest.append((id_, (received, label, body)))
        key = (source, label)
        counts[key] = counts.get(key, 0) + 1
    if rows:
        stage.db.executemany(_LOG, rows)
        stage.new_rows += newest
    for (source, label), n in counts.items():
        stage.source(source).logged += n
        stage.count(NO_LANE, source, label, LOGGED_CODE, n)
        stage.logged.add(source)
    return receipts


def _receipts(stage: Stage, events: Sequence[NewEvent]) -> list[Receipt]:
    """Tell repeats from first comers, and remember the latter with the numbers they are about to get."""
    known = sum(event.deduplicate for event in events)
    if not known:
        return [Receipt.LOGGED] * len(events)
    for name in {event.source for event in events}:
        stage.source_id(name)  # a new source must outlive the roll-back
    stage.db.execute("savepoint ids")
    if stage.db.executemany(_SEEN, _numbered(stage, events)) != known:
        stage.db.execute("rollback to ids")
        receipts = _receipts_one_by_one(stage, events)
    else:
        receipts = [Receipt.LOGGED] * len(events)
    stage.db.execute("release ids")
    return receipts


def _numbered(stage: Stage, events: Sequence[NewEvent]) -> list[tuple[int, str, str, bytes, float, int]]:
    rows = []
    heads: dict[int, int] = {}
    current, source, number = "", 0, 0
    for name, event_name, _, event_id, _, received, deduplicate, digest, _ in events:
        if name != current:
            heads[source] = number
            current, source = name, stage.source_id(name)
            number = heads[source] if source in heads else stage.source(source).head
        number += 1
        if deduplicate:
            rows.append((source, event_id, event_name, digest, received, number))
    return rows


def _receipts_one_by_one(stage: Stage, events: Sequence[NewEvent]) -> list[Receipt]:
    receipts = []
    heads: dict[int, int] = {}
    for event in events:
        source = stage.source_id(event.source)
        number = heads.get(source, stage.source(source).head) + 1
        receipt = _receipt(stage, source, number, event) if event.deduplicate else Receipt.LOGGED
        if receipt is Receipt.LOGGED:
            heads[source] = number
        receipts.append(receipt)
    return receipts


def _receipt(stage: Stage, source: int, number: int, event: NewEvent) -> Receipt:
    row = (source, event.id, event.name, event.digest, event.received, number)
    if stage.db.execute(_SEEN, row).rowcount:
        return Receipt.LOGGED
    key = (source, event.id, event.name)
    (digest,) = stage.db.one("select digest from seen where source=? and id=? and name=?", key)
    return Receipt.SAME if digest == event.digest else Receipt.CONFLICT


def _keep_duplicate(stage: Stage, source: int, event: NewEvent, receipt: Receipt) -> None:
    ending = SAME if receipt is Receipt.SAME else CONFLICT
    stage.count(NO_LANE, source, event.label, ending.code)
    if receipt is Receipt.CONFLICT:
        bury(stage, NO_LANE, source, 0, event.id, event.label, ending, 0, stage.now, event.received, event.body)


def bury(
    stage: Stage,
    lane: int,
    source: int,
    number: int,
    event_id: str,
    label: str,
    ending: Ending,
    tries: int,
    first_at: float,
    received: float,
    body: bytes,
    *,
    damaged: bool = False,
) -> None:
    """Keep a copy of an event with the dead letters; a damaged one gets a checksum that keeps it from being replayed."""
    crc = checksum(number, received, label, event_id, body) ^ damaged
    row = (lane, source, number, event_id, label, ending.code, ending.detail, tries, first_at, stage.now, received, body, crc)
    stage.db.execute(_DEAD, row)
    stage.source(source).bytes += weight(event_id, body)


DAMAGED_LABEL = CUSTOM
"""Under which name an event is counted whose row cannot be trusted."""
