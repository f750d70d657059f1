"""Checkpoints off the commit path: a thread with a connection of its own moves committed pages into the main file.

PASSIVE every 250 ms while there are commits; it blocks nobody and, under constant writing, never lets the log start anew.
So it also tells how many frames are *in use* (not how large the file is, which never shrinks by this), and above 16 MB the
writer runs one RESTART between two commits. Without commits the thread sleeps without a timer.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

from gateway.queue import schema

INTERVAL = 0.25
RESTART_BYTES = 16 << 20

CACHE_KIB = 1000
log = logging.getLogger(__name__)


def in_use(connection: sqlite3.Connection, mode: str) -> int | None:
    """Run a checkpoint; bytes of frames in use, None when it was kept from finishing."""
    busy, frames, _ = connection.execute(f"pragma wal_checkpoint({mode})").fetchone()
    return None if busy else max(frames, 0) * schema.PAGE


class Checkpointer:
    """The thread. `wal_bytes` and `restart_due` may be read from anywhere."""

    def __init__(self, file: Path, interval: float = INTERVAL) -> None:
        self.wal_bytes = 0
        self.restart_due = False
        self._file = file
        self._interval = interval
        self._dirty = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tagway-checkpoint", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def committed(self) -> None:
        """There is something to move."""
        self._dirty.set()

    def restarted(self, wal_bytes: int | None) -> None:
        """The writer ran RESTART or TRUNCATE: what it found in use, None when it was kept from it."""
        if wal_bytes is not None:
            self.restart_due, self.wal_bytes = False, 0

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        self._dirty.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        connection = schema.connect(self._file, cache_kib=CACHE_KIB, busy_ms=0)
        try:
            while not self._stop.is_set():
                self._dirty.wait()
                self._dirty.clear()
                self._stop.wait(self._interval)
                self._passive(connection)
        finally:
            connection.close()

    def _passive(self, connection: sqlite3.Connection) -> None:
        try:
            wal_bytes = in_use(connection, "passive")
        except sqlite3.Error as error:
            log.warning("Checkpoint failed, it is tried again: %s", error)
            return
        if wal_bytes is not None:
            self.wal_bytes = wal_bytes
            self.restart_due = wal_bytes > RESTART_BYTES
