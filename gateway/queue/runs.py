"""Sets of numbers as ranges: what a lane has settled out of order, and runs of settled numbers that share a code."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """A set of whole numbers kept as sorted, disjoint, non-touching ranges.

    >>> done = Ranges(); done.add(5, 7); 6 in done
    True
    """

    __slots__ = ("his", "los")

    def __init__(self, los: list[int] | None = None, his: list[int] | None = None) -> None:
        self.los = los or []
        self.his = his or []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.los, number) - 1
        return at >= 0 and number <= self.his[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.los, self.his, strict=True)

    def __len__(self) -> int:
        """How many numbers."""
        return sum(self.his) - sum(self.los) + len(self.los)

    def add(self, lo: int, hi: int) -> None:
        """Add lo..hi, joining what touches."""
        first = bisect_left(self.his, lo - 1)
        last = bisect_right(self.los, hi + 1)
        if first < last:
            lo, hi = min(lo, self.los[first]), max(hi, self.his[last - 1])
        self.los[first:last] = [lo]
        self.his[first:last] = [hi]

    def copy(self) -> Ranges:
        """An independent copy."""
        return Ranges(self.los[:], self.his[:])

    def shift(self, cursor: int) -> int:
        """Drop what lies below a cursor; returns the cursor moved past the range it stands in."""
        while self.los and self.los[0] <= cursor:
            cursor = max(cursor, self.his.pop(0) + 1)
            self.los.pop(0)
        return cursor

    def after(self, number: int) -> int:
        """The first number >= `number` that is not in the set."""
        at = bisect_right(self.los, number) - 1
        return self.his[at] + 1 if at >= 0 and number <= self.his[at] else number


Run = tuple[int, int, int]
"""(lo, hi, code)"""


def coalesce(settled: Iterable[tuple[int, int]]) -> list[Run]:
    """(number, code) pairs to runs, in order."""
    runs: list[Run] = []
    for number, code in sorted(settled):
        if runs and runs[-1][1] == number - 1 and runs[-1][2] == code:
            runs[-1] = (runs[-1][0], number, code)
        else:
            runs.append((number, number, code))
    return runs
