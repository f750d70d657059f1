"""The one writing connection, seen step by step.

Every statement, and the moments before and after COMMIT, pass an optional hook. Tests use it to crash between any two steps
and to let a commit fail while the process lives on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Hook = Callable[[str], None]
"""Called with the statement about to run, `commit` before and `committed` after a COMMIT."""


class Database:
    """A connection whose steps can be watched. At most one transaction is open at a time."""

    def __init__(self, connection: sqlite3.Connection, hook: Hook | None = None) -> None:
        self.connection = connection
        self.hook = hook

    def execute(self, sql: str, params: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        if self.hook:
            self.hook(sql)
        return self.connection.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each row; returns how many rows it changed."""
        if self.hook:
            self.hook(sql)
        return self.connection.executemany(sql, rows).rowcount

    def one(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """The first row, or None."""
        return self.execute(sql, params).fetchone()

    def all(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        """All rows."""
        return self.execute(sql, params).fetchall()

    def begin(self) -> None:
        """Start a transaction that may write."""
        self.execute("begin immediate")

    def commit(self) -> None:
        """Make the transaction last; when this raises, nothing of it did."""
        if self.hook:
            self.hook("commit")
        self.connection.execute("commit")
        if self.hook:
            self.hook("committed")

    def rollback(self) -> None:
        """Undo what is open."""
        if self.connection.in_transaction:
            self.connection.execute("rollback")

    def close(self) -> None:
        """Close the connection; an open transaction is undone."""
        self.connection.close()
