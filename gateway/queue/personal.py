"""Personal data leaves settled events after a while: user, device, ids, queries of URLs, marks of orders (design §2).

The event keeps its row, number and checksum. What is still queued somewhere keeps its data until it is settled; it is noted in
`pending` and looked at again. Kept copies (dead letters) keep theirs until retention takes them, or they could not be
replayed.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from gateway.queue import barred
from gateway.queue.core import Limits
from gateway.queue.retention import Row, settled_rows
from gateway.queue.schema import MASK, SHIFT, checksum, row_id
from gateway.queue.stage import Stage

SLICE = 200
PERSONAL = ("user", "device", "ids")
_ROWS = "select id, received, label, event_id, length(body) from log where id >= ? and id <= ? order by id limit ?"


def strip_new(stage: Stage, limits: Limits) -> int:
    """Strip events that became old enough since the last pass; returns how many were looked at."""
    looked = 0
    for source in list(stage.memory.sources):
        state = stage.source(source)
        lo = max(state.bare + 1, state.floor)
        rows = stage.db.all(_ROWS, (row_id(source, lo), row_id(source, MASK), SLICE))
        old = []
        for row in rows:
            if row[1] >= stage.now - limits.personal:
                break
            old.append(row)
        if old:
            settled = _strip(stage, source, old)
            state.bare = old[-1][0] & MASK
            stage.db.executemany("insert or ignore into pending values(?)", [(r[0],) for r in old if r[0] not in settled])
        looked += len(old)
        if looked >= SLICE:
            break
    return looked


def strip_pending(stage: Stage, above: int) -> int | None:
    """Look again at events that were not settled before; returns where to go on, None at the end."""
    ids: list[int] = [id_ for (id_,) in stage.db.all("select id from pending where id > ? order by id limit ?", (above, SLICE))]
    if not ids:
        return None
    for source in sorted({id_ >> SHIFT for id_ in ids}):
        rows = []
        for id_ in ids:
            if id_ >> SHIFT == source:
                rows += stage.db.all(_ROWS, (id_, id_, 1))
        settled = _strip(stage, source, rows)
        gone = {id_ for id_ in ids if id_ >> SHIFT == source} - {row[0] for row in rows}
        stage.db.executemany("delete from pending where id=?", [(id_,) for id_ in settled | gone])
    return ids[-1]


def _strip(stage: Stage, source: int, rows: list[Row]) -> set[int]:
    settled = settled_rows(stage, source, rows)
    for id_, received, label, event_id, length in settled:
        (body,) = stage.db.one("select body from log where id=?", (id_,))
        bare = strip(body)
        if bare != body:
            crc = checksum(id_, received, label, event_id, bare)
            stage.db.execute("update log set body=?, crc=? where id=?", (bare, crc, id_))
            stage.source(source).bytes -= length - len(bare)
            stage.old_rows.append(id_)
    return {row[0] for row in settled}


def strip(body: bytes) -> bytes:
    """An event without personal data; what is not JSON becomes an empty object."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return b"{}"
    if not isinstance(event, dict):
        return b"{}"
    for key in PERSONAL:
        event.pop(key, None)
    barred.without(event)
    return orjson.dumps(_without_queries(event))


def _without_queries(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_queries(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_queries(item) for item in value]
    return _without_query(value) if isinstance(value, str) and "://" in value else value


def _without_query(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.split("?", 1)[0].split("#", 1)[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
