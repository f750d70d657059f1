"""Parts gathered into requests: those of one rendered envelope, up to the vendor's number, size and waiting time.

Two events share a request only where all bytes of it but the list of events are equal, so consent, address, time and
client may stand in the envelope. A part that is to go alone never shares one.
"""

from __future__ import annotations

from collections import deque

from gateway.deliver.limits import Bounds
from gateway.deliver.settle import Piece
from gateway.destination import Batch

Bundle = list[Piece]
"""Pieces that travel together; never empty, all of one envelope."""


def batch_of(bundle: Bundle) -> Batch:
    """The batch that a bundle is sent as."""
    return Batch(bundle[0].part.envelope, tuple([piece.part for piece in bundle]))


class _Group:
    """What has gathered under one envelope, with its size and when it must go."""

    __slots__ = ("bundle", "due", "size")

    def __init__(self, piece: Piece, due: float) -> None:
        self.bundle: Bundle = []
        self.due = due
        self.size = len(piece.part.envelope.body)


class Batcher:
    """Times are monotonic seconds."""

    def __init__(self, bounds: Bounds) -> None:
        self._most, self._bytes, self._wait = bounds.max_events, bounds.max_bytes, bounds.max_wait
        self._groups: dict[bytes, _Group] = {}
        self._ready: deque[Bundle] = deque()

    def __len__(self) -> int:
        """Parts that wait here."""
        return sum(map(len, self._ready)) + sum(len(group.bundle) for group in self._groups.values())

    def add(self, piece: Piece, now: float, alone: bool = False) -> None:
        """Take a piece; it is ready with its group, or at once when it goes alone."""
        if alone or self._most == 1:
            self._ready.append([piece])
            return
        envelope = piece.part.envelope
        group = self._groups.get(envelope.key)
        size = len(piece.part.body) + 1
        if group and group.size + size > self._bytes:
            self._ready.append(self._groups.pop(envelope.key).bundle)
            group = None
        if group is None:
            group = self._groups[envelope.key] = _Group(piece, now + self._wait)
        group.bundle.append(piece)
        group.size += size
        if len(group.bundle) >= self._most:
            self._ready.append(self._groups.pop(envelope.key).bundle)

    def next(self, now: float) -> Bundle | None:
        """A bundle whose time has come, oldest first."""
        if not self._ready:
            self._ripen(now)
        return self._ready.popleft() if self._ready else None

    def put_back(self, bundle: Bundle) -> None:
        """Return a bundle that could not go yet; it stays first."""
        self._ready.appendleft(bundle)

    def due_in(self, now: float) -> float | None:
        """Seconds until a bundle is ready; None when nothing waits."""
        if self._ready:
            return 0.0
        first = next(iter(self._groups.values()), None)
        return max(0.0, first.due - now) if first else None

    def empty(self) -> list[Piece]:
        """Give everything back that has not gone."""
        pieces = [piece for bundle in self._ready for piece in bundle]
        pieces += [piece for group in self._groups.values() for piece in group.bundle]
        self._ready.clear()
        self._groups.clear()
        return pieces

    def _ripen(self, now: float) -> None:
        """Move the groups that have waited long enough; they stand in the order of their time."""
        while self._groups:
            key, group = next(iter(self._groups.items()))
            if group.due > now:
                return
            self._ready.append(self._groups.pop(key).bundle)
