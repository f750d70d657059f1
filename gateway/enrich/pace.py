"""How fast one client goes: the only suspicion that a single hit cannot show. The state of the intake, of bounded size."""

from __future__ import annotations

from gateway.receive.hit import Hit

PER_MINUTE = 600
"""Hits a minute of one address and agent; an office behind one address stays below it, a script does not."""
WINDOW = 60.0
MOST_CLIENTS = 20_000
_RATE = ("rate",)


class Pace:
    """Counts hits per (address, agent) in windows of a minute; a client over the pace is suspect until its window ends."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._limit = per_minute
        self._began = 0.0
        self._counts: dict[tuple[str, str], int] = {}
        self._last: Hit | None = None
        self._answer: tuple[str, ...] = ()

    def suspicions(self, hit: Hit) -> tuple[str, ...]:
        """`("rate",)` for a hit over the pace, else nothing; several events of one hit count once."""
        if hit is not self._last:
            self._last, self._answer = hit, _RATE if self._over(hit) else ()
        return self._answer

    def _over(self, hit: Hit) -> bool:
        if hit.server or not hit.ip:
            return False
        if hit.received - self._began >= WINDOW or hit.received < self._began or len(self._counts) >= MOST_CLIENTS:
            self._began, self._counts = hit.received, {}
        key = (hit.ip, hit.headers.get("user-agent", ""))
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count > self._limit
