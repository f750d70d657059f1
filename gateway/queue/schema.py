"""The SQLite file: its tables, how connections are set up, and the checksum of a row.

One file, write-ahead log, `secure_delete` on. Numbers are per source and without gaps; the row id of an event is
`source << 40 | number`, so one cheap rowid table holds the logs of all sources, each in the order of arrival.

    source      head (last number given), accepted, left (rows that left the log), bytes (log, copies and dead letters)
    log         the events, once each, with a checksum over the whole row
    seen        ids given by clients: keyed (source, id, name) as text, so that time-ordered ids stay ordered
    lane        a destination; lane 0 is "no lane", for what is counted at the source
    position    of a lane in a source: where it began and its cursor (everything below is settled or waits for a retry)
    run         settled numbers with the code of their ending, while the log row lives; a number that is in no run and has no
                retry row is queued
    retry       events that wait for another try; `body` only where the log no longer has it (after a replay)
    dead        kept copies of events that were not delivered, and conflicting duplicates (lane 0)
    counter     the ledger: (lane, source, label, code of the ending) → n, written in the transaction that settles
    firing      one row per request to a vendor
    withdrawal  what a visitor withdrew
    context     what a checkout's browser said, by a keyed hash of the checkout, for 48 h (contexts.py)
    pending     events too old to keep personal data that were not settled when their turn came
    gauge       byte totals and small numbers of the store itself
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from pathlib import Path

from gateway.errors import StoreTooNew, StoreUnfit

_NUMBERS = struct.Struct(">qd")
VERSION = 2
PAGE = 4096
SHIFT = 40
MASK = (1 << SHIFT) - 1
NO_LANE = 0
ACCEPTED, LOGGED = "accepted", "logged"
LOGGED_CODE = 1
"""Stands for LOGGED in `counter`; the codes of endings start at 16 (outcomes.CODES)."""

DDL = """
create table gauge(name text primary key, n integer not null) without rowid;
create table keep(name text primary key, value blob not null) without rowid;
create table source(id integer primary key, name text not null unique, head integer not null default 0,
    accepted integer not null default 0, departed integer not null default 0, bytes integer not null default 0,
    bare integer not null default 0);
create table log(id integer primary key, received real not null, label text not null, event_id text not null,
    body blob not null, crc integer not null);
create table seen(source integer not null, id text not null, name text not null, digest blob not null, at real not null,
    number integer not null, primary key(source, id, name)) without rowid;
create table lane(id integer primary key, name text not null unique);
create table position(lane integer not null, source integer not null, start integer not null,
    logged_at_start integer not null, backfilled integer not null default 0, late integer not null default 0,
    cursor integer not null, primary key(lane, source)) without rowid;
create table run(lane integer not null, source integer not null, lo integer not null, hi integer not null,
    code integer not null, primary key(lane, source, lo)) without rowid;
create table retry(lane integer not null, id integer not null, source integer not null, due real not null,
    tries integer not null, first_at real not null, parts text, worst integer, worst_detail text, alone integer not null,
    why integer, why_detail text, token integer not null, since real not null,
    label text, received real, event_id text, body blob, crc integer, primary key(lane, id)) without rowid;
create index retry_due on retry(lane, source, due);
create index retry_copy on retry(since) where body is not null;
create table dead(id integer primary key autoincrement, lane integer not null, source integer not null,
    number integer not null, event_id text not null, label text not null, code integer not null, detail text not null,
    tries integer not null, first_at real not null, at real not null, received real not null, body blob not null,
    crc integer not null);
create index dead_lane on dead(lane, source, number);
create index dead_event on dead(event_id);
create table counter(lane integer not null, source integer not null, label text not null, code integer not null,
    n integer not null, primary key(lane, source, label, code)) without rowid;
create table firing(id integer primary key autoincrement, lane text not null, at real not null, status integer not null,
    ms real not null, request text not null, answer text not null, error text not null, events text not null);
create table withdrawal(subject blob not null, purpose text not null, at real not null, lifted real not null,
    primary key(subject, purpose)) without rowid;
create table pending(id integer primary key);
create table context(id integer primary key, key blob not null unique, source integer not null, event_id text not null,
    at real not null, body blob not null);
insert into gauge values('firings', 0), ('opens', 0);
"""

LIFT: dict[int, str] = {
    1: """create table context(id integer primary key, key blob not null unique, source integer not null,
        event_id text not null, at real not null, body blob not null);"""
}
"""version n → what makes it version n + 1."""

PRAGMAS = (
    f"pragma page_size={PAGE}",
    "pragma journal_mode=wal",
    "pragma secure_delete=on",
    "pragma wal_autocheckpoint=0",
    "pragma journal_size_limit=67108864",
    "pragma temp_store=memory",
)


def connect(file: Path, *, cache_kib: int, synchronous: str = "full", busy_ms: int = 1000) -> sqlite3.Connection:
    """A connection with our settings, in autocommit mode: transactions are begun and ended in the open."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, cached_statements=256)
    own = (f"pragma synchronous={synchronous}", f"pragma cache_size=-{cache_kib}", f"pragma busy_timeout={busy_ms}")
    try:
        for pragma in (*PRAGMAS, *own):
            connection.execute(pragma).fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, salt: bytes) -> None:
    """Create the tables in an empty file, or bring an older store up to date, one version after the other.

    Raises StoreTooNew for a newer one, StoreUnfit for a file that is not ours.
    """
    (version,) = connection.execute("pragma user_version").fetchone()
    (tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    check_version(version)
    if version == 0 and tables == 0:
        connection.executescript(f"begin immediate; {DDL} pragma user_version={VERSION}; commit;")
        connection.execute("insert or ignore into keep values('salt', ?)", (salt,))
    elif version == 0:
        raise StoreUnfit("the file is an SQLite database, but not a Tagway store; give the queue another path")
    for older in range(version or VERSION, VERSION):
        connection.executescript(f"begin immediate; {LIFT[older]} pragma user_version={older + 1}; commit;")


def check_version(version: int) -> None:
    """Raise StoreTooNew for a store of a newer program."""
    if version > VERSION:
        raise StoreTooNew(f"the store has version {version}; this program reads up to {VERSION}: run the newer Tagway")


def row_id(source: int, number: int) -> int:
    """The row id of an event."""
    return source << SHIFT | number


def checksum(id_: int, received: float, label: str, event_id: str, body: bytes) -> int:
    """CRC-32 over a whole row: its key and every column; none equals that of a row whose types have changed."""
    if not isinstance(body, bytes) or not isinstance(received, float):
        return -1
    words = f"{label} {event_id}".encode("utf-8", "surrogatepass")
    return zlib.crc32(body, zlib.crc32(words, zlib.crc32(_NUMBERS.pack(id_, received))))


def weight(event_id: str, body: bytes) -> int:
    """Bytes that an event is taken to occupy: what the byte limits count."""
    return len(body) + len(event_id) + 64
