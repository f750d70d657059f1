"""Erase a person: queued events end as `erased`, and the bytes leave the log, copies, dead letters, contexts, firings and ids.

Runs in slices over the whole log. Outcomes that were counted stay. The last step is the caller's: TRUNCATE of the write-ahead
log, without which old pages with the bytes stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.outcomes import CODES, Outcome
from gateway.queue import deadletters, retention
from gateway.queue.schema import MASK, SHIFT, row_id, weight
from gateway.queue.settle import record, remove_waiting
from gateway.queue.stage import Stage

SLICE = 200
ERASED_CODE = CODES[(Outcome.ERASED, "")]
_LOG = "select id, received, label, event_id, body from log where id > ? order by id limit ?"
_COPIES = """select lane, id, source, label, event_id, body, token from retry where body is not null and (lane, id) > (?, ?)
    order by lane, id limit ?"""
_LETTERS = "select id, source, number, event_id, body from dead where id > ? order by id limit ?"


@dataclass
class Person:
    """What an event is recognised by, and what was found so far: (source name, number), events that left no number, and
    (source name, event id) of both.

    Addresses are compared without regard to case, other values exactly.
    """

    events: frozenset[str]
    matches: Sequence[tuple[str, str, str]]
    found: set[tuple[str, int]] = field(default_factory=set)
    unnumbered: int = 0
    ids: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._needles = {orjson.dumps(value.strip())[1:-1].lower() for _, _, value in self.matches}

    def owns(self, event_id: str, body: bytes) -> bool:
        """Whether an event is this person's."""
        if event_id in self.events:
            return True
        lowered = body.lower()
        return any(needle in lowered for needle in self._needles) and self._matches(body)

    def _matches(self, body: bytes) -> bool:
        try:
            event = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        return isinstance(event, dict) and any(_has(event.get(section), key, value) for section, key, value in self.matches)


def _has(section: Any, key: str, value: str) -> bool:
    held = section.get(key) if isinstance(section, dict) else None
    values = [str(one) for one in (held if isinstance(held, list) else [held]) if one is not None]
    if key == "email":
        return value.strip().lower() in (one.strip().lower() for one in values)
    return value in values


def erase_log(stage: Stage, person: Person, above: int) -> int | None:
    """A slice of the log; returns where to go on, None at the end."""
    rows = stage.db.all(_LOG, (above, SLICE))
    for id_, received, label, event_id, body in rows:
        if person.owns(event_id, body):
            source, number = id_ >> SHIFT, id_ & MASK
            _end(stage, source, number, label)
            retention.remove(stage, source, [(id_, received, label, event_id, len(body))])
            forget_id(stage, person, source, event_id)
            person.found.add((stage.source(source).name, number))
    return rows[-1][0] if len(rows) == SLICE else None


def _end(stage: Stage, source: int, number: int, label: str) -> None:
    """Every lane that still has the event to settle settles it as erased; one that holds it will not send it."""
    for lane in stage.readers(source):
        position = stage.position(lane, source)
        if position.retrying:
            sql = "select label, event_id, length(body), token from retry where lane=? and id=?"
            row = stage.db.one(sql, (lane, row_id(source, number)))
            if row is not None:
                copied = weight(row[1], b"") + row[2] if row[2] is not None else 0
                remove_waiting(stage, lane, source, number, copied)
                record(stage, lane, source, number, row[0] or label, ERASED_CODE)
                stage.landed.append((lane, source, number, row[3]))
                continue
        if not position.covers(number):
            record(stage, lane, source, number, label, ERASED_CODE)
            stage.landed.append((lane, source, number, 0))


def erase_copies(stage: Stage, person: Person, after: tuple[int, int]) -> tuple[int, int] | None:
    """A slice of the copies that retry rows carry."""
    rows = stage.db.all(_COPIES, (*after, SLICE))
    for lane, id_, source, label, event_id, body, token in rows:
        if person.owns(event_id, body):
            remove_waiting(stage, lane, source, id_ & MASK, weight(event_id, body))
            record(stage, lane, source, id_ & MASK, label, ERASED_CODE)
            stage.landed.append((lane, source, id_ & MASK, token))
            forget_id(stage, person, source, event_id)
            person.found.add((stage.source(source).name, id_ & MASK))
    return (rows[-1][0], rows[-1][1]) if len(rows) == SLICE else None


def erase_letters(stage: Stage, person: Person, above: int) -> int | None:
    """A slice of the dead letters, of the person's events and of conflicting duplicates."""
    rows = stage.db.all(_LETTERS, (above, SLICE))
    for id_, source, number, event_id, body in rows:
        name = stage.source(source).name
        if (name, number) in person.found or person.owns(event_id, body):
            deadletters.drop(stage, [id_])
            forget_id(stage, person, source, event_id)
            if number:
                person.found.add((name, number))
            else:
                person.unnumbered += 1
    return rows[-1][0] if len(rows) == SLICE else None


def forget_id(stage: Stage, person: Person, source: int, event_id: str) -> None:
    """The id itself leaves the de-dup table; it is still to be looked for among the contexts."""
    person.ids.add((stage.source(source).name, event_id))
    stage.db.execute("delete from seen where source=? and id=?", (source, event_id))
