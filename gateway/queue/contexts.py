"""Contexts: what the browser of a checkout said, kept until the shop's own word of the order comes.

A context is written in the transaction that stores the hit it was taken from, under a keyed hash of the checkout, cart or
order that the hit named (gateway/checkout.py makes both). The last hit of a checkout is the one that counts: a later one
takes the place of an earlier. Rows leave after their age, the oldest first when there are too many, and with the person
whose event they were taken from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.queue.base import Context, NewEvent
from gateway.queue.stage import Stage

if TYPE_CHECKING:
    from gateway.queue.erase import Person

SLICE = 500
MOST = 200_000
"""Rows kept; more are made by nobody's checkouts."""
_INSERT = "insert or replace into context(key, source, event_id, at, body) values(?, ?, ?, ?, ?)"
_OLDEST = "select id, at from context order by id limit ?"
_WALK = "select id, source, event_id, body from context where id > ? order by id limit ?"


def keep(stage: Stage, events: Iterable[NewEvent]) -> None:
    """Write what the events of a hit leave behind."""
    rows = [
        (context.key, stage.source_id(event.source), event.id, event.received, context.body)
        for event in events
        for context in event.contexts
    ]
    if rows:
        stage.db.executemany(_INSERT, rows)


def read(connection: sqlite3.Connection, keys: Sequence[bytes], since: float) -> dict[bytes, Context]:
    """The committed contexts of some keys that are not older than `since`, by key."""
    marks = ", ".join("?" * len(keys))
    sql = f"select key, body, at from context where key in ({marks}) and at >= ?"
    return {key: Context(key, body, at) for key, body, at in connection.execute(sql, (*keys, since))}


def forget(stage: Stage, before: float, most: int = MOST) -> int:
    """Delete a slice of what is too old or too much; returns how many rows went.

    Rows stand in the order of their writing, which is that of their age but for clock steps.
    """
    (count,) = stage.db.one("select count(*) from context")
    over = count - most
    rows = stage.db.all(_OLDEST, (SLICE,)) if count else []
    old = [(id_,) for n, (id_, at) in enumerate(rows) if at < before or n < over]
    if old:
        stage.db.executemany("delete from context where id=?", old)
    return len(old)


def erase(stage: Stage, person: Person, above: int) -> int | None:
    """A slice of the contexts: those taken from the person's events, or that hold an id of theirs, go.

    Returns where to go on, None at the end.
    """
    rows = stage.db.all(_WALK, (above, SLICE))
    for id_, source, event_id, body in rows:
        if (stage.source(source).name, event_id) in person.ids or person.owns(event_id, body):
            stage.db.execute("delete from context where id=?", (id_,))
    return rows[-1][0] if len(rows) == SLICE else None
