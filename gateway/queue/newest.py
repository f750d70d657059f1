"""The newest events in memory, so that lanes that keep up read nothing from disk.

Bytes, not objects, and few: the oldest give way. A row that was changed or deleted leaves at once (after the commit that did
it), so what is here is what the log has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

MOST_BYTES = 8 << 20
OVERHEAD = 300
"""What a row costs beside its body."""
Row = tuple[float, str, bytes]
"""(received, label, body)"""


class Newest:
    """Rows by their id, in the order of arrival."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._rows: dict[int, Row] = {}
        self._order: deque[int] = deque()
        self._bytes = 0
        self._most = most_bytes

    def add(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Keep rows that were just committed, each under its id."""
        for id_, row in rows:
            self._rows[id_] = row
            self._order.append(id_)
            self._bytes += len(row[2]) + OVERHEAD
        while self._bytes > self._most:
            self.drop((self._order.popleft(),))

    def drop(self, ids: Iterable[int]) -> None:
        """Forget rows that were changed or deleted."""
        for id_ in ids:
            row = self._rows.pop(id_, None)
            if row is not None:
                self._bytes -= len(row[2]) + OVERHEAD

    def row(self, id_: int) -> Row | None:
        """A row, None when it is not here."""
        return self._rows.get(id_)
