"""Reading a store from outside, while another process may own it: the counters that `tagway audit` prints, and its secret."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import StoreError
from gateway.outcomes import ENDINGS
from gateway.queue.base import Counter
from gateway.queue.schema import ACCEPTED, LOGGED, LOGGED_CODE, NO_LANE


def counters_readonly(folder: Path) -> Mapping[Counter, int]:
    """The counters as committed, in the form of Store.counters. Raises StoreError when there is no store to read."""
    file = folder / "tagway.db"
    if not file.exists():
        raise StoreError(f"there is no store at {file}")
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    try:
        return _read(connection)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the store cannot be read: {error}") from error
    finally:
        connection.close()


def salt_readonly(folder: Path) -> bytes | None:
    """The secret by which the store knows people and signs cookies; None where no store can be read."""
    file = folder / "tagway.db"
    if not file.exists():
        return None
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    try:
        found = connection.execute("select value from keep where name = 'salt'").fetchone()
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()
    return bytes(found[0]) if found else None


def _read(connection: sqlite3.Connection) -> dict[Counter, int]:
    lanes = {NO_LANE: "", **dict(connection.execute("select id, name from lane"))}
    sources = {id_: (name, accepted) for id_, name, accepted in connection.execute("select id, name, accepted from source")}
    found: dict[Counter, int] = {(name, "", "", ACCEPTED, ""): accepted for name, accepted in sources.values()}
    for lane, source, label, code, n in connection.execute("select lane, source, label, code, n from counter"):
        outcome, reason = (LOGGED, "") if code == LOGGED_CODE else ENDINGS[code]
        found[(sources[source][0], lanes[lane], label, str(outcome), reason)] = n
    return found
