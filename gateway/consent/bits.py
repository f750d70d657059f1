"""Bits of the IAB's consent strings: six to a character, big-endian, read by position.

The alphabet is base64url's, but strings are not base64: lengths of one character over a multiple of four are legal. Reading
past the end gives zeros. `Ids` are vendors as such strings list them: one bit each, or ranges.
"""

from __future__ import annotations

import re
from array import array
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import NamedTuple

MAX_STEPS = 200_000
"""Ids that the ranges of one string may add up to; a real list has 2,000."""
_TEXT = re.compile(r"[A-Za-z0-9_-]+")


class Unreadable(ValueError):
    """The string is none, or claims more than one may hold."""


class Bits:
    """The bits of one segment. Raises Unreadable for characters outside the alphabet and for no character at all."""

    __slots__ = ("_bytes", "left", "length")

    def __init__(self, text: str) -> None:
        if not _TEXT.fullmatch(text):
            raise Unreadable("a character outside the alphabet")
        self._bytes = urlsafe_b64decode(text + "A" * (-len(text) % 4))
        self.length = 6 * len(text)
        self.left = MAX_STEPS

    def read(self, at: int, count: int) -> int:
        """The number in `count` bits from a position."""
        end = at + count
        last = (end + 7) >> 3
        part = self._bytes[at >> 3 : last]
        value = int.from_bytes(part, "big") << 8 * (last - (at >> 3) - len(part))
        return value >> (8 * last - end) & (1 << count) - 1

    def set_bits(self, at: int, count: int) -> int:
        """A mask of the ones in a field: its first bit is bit 1 of the mask."""
        return int(f"{self.read(at, count):0{count}b}"[::-1], 2) << 1 if count else 0

    def spend(self, steps: int) -> None:
        """Count what a string claims. Raises Unreadable when it is more than one may hold."""
        self.left -= steps
        if self.left < 0:
            raise Unreadable("claims more ids than a string may hold")


class Ids(NamedTuple):
    """A set of vendor ids: a mask (bit n is id n) and inclusive ranges as start, end, start, end …"""

    mask: int = 0
    ranges: array[int] = array("H")

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int) or number < 1:
            return False
        if self.mask >> number & 1:
            return True
        return any(self.ranges[n] <= number <= self.ranges[n + 1] for n in range(0, len(self.ranges), 2))

    def listed(self) -> list[int]:
        """Every id, ascending."""
        found = set(ones(self.mask))
        for n in range(0, len(self.ranges), 2):
            found.update(range(self.ranges[n], self.ranges[n + 1] + 1))
        return sorted(found)


def ones(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def vendors(bits: Bits, at: int) -> tuple[Ids, int]:
    """The vendor section that starts at a position, and where it ends. Raises Unreadable."""
    most = bits.read(at, 16)
    if not bits.read(at + 16, 1):
        bits.spend(most)
        return Ids(bits.set_bits(at + 17, most)), at + 17 + most
    return ranges(bits, at + 17)


def ranges(bits: Bits, at: int) -> tuple[Ids, int]:
    """The list of range entries that starts at a position, and where it ends. Raises Unreadable."""
    count = bits.read(at, 12)
    at += 12
    found = array("H")
    for _ in range(count):
        if at >= bits.length:
            raise Unreadable("ends inside a list of vendors")
        wide = bits.read(at, 1)
        start = end = bits.read(at + 1, 16)
        at += 17
        if wide:
            end = bits.read(at, 16)
            at += 16
        if not 0 < start <= end:
            raise Unreadable("a range that ends before it starts")
        bits.spend(end - start + 1)
        found.extend((start, end))
    return Ids(0, found), at
