"""Consent that explains itself: a lane that gets almost nothing for want of consent says so, once, with the deciding signal.

Every half minute the counters are compared with those of ten minutes ago. Where over 95 % of what a lane settled in between
was `skipped{consent}`, one line is logged and a note stands in the ledger and on the page until the share falls again. The
signal is the one that most of the newest barred events name; these few are read only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from gateway.consent.gate import refuses
from gateway.outcomes import Outcome
from gateway.plans import Ready
from gateway.queue.base import Audit
from gateway.queue.recent import Logged, Window

log = logging.getLogger(__name__)

EVERY = 30.0
SPAN = 600.0
SHARE = 0.95
LEAST = 20
"""Fewer events than this in the span say nothing."""
SAMPLE = 500
_BARRED = (str(Outcome.SKIPPED), "consent")
Sums = Mapping[str, tuple[int, int]]
"""lane → (events settled, of these skipped{consent})"""


class ConsentWatch:
    """Watches the books of a store. `signal(lane)` names what decided, in the words of the gate."""

    def __init__(self, signal: Callable[[str], str]) -> None:
        self._signal = signal
        self._seen: deque[tuple[float, Sums]] = deque()
        self._notes: dict[str, str] = {}

    def notes(self) -> Mapping[str, str]:
        """lane → a sentence, for the lanes that get almost nothing."""
        return self._notes

    def look(self, now: float, books: Audit) -> None:
        """Compare with ten minutes ago; `now` is monotonic."""
        sums = settled(books)
        while len(self._seen) > 1 and self._seen[1][0] <= now - SPAN:
            self._seen.popleft()
        for lane, (total, barred) in sums.items() if self._seen else ():
            was_total, was_barred = self._seen[0][1].get(lane, (0, 0))
            self._judge(lane, total - was_total, barred - was_barred)
        self._seen.append((now, sums))

    def _judge(self, lane: str, total: int, barred: int) -> None:
        if total < LEAST or barred <= SHARE * total:
            if total >= LEAST:
                self._notes.pop(lane, None)
            return
        if lane in self._notes:
            return
        signal = self._signal(lane)
        self._notes[lane] = f"{lane} gets almost nothing: {barred} of {total} events had no consent. {signal}".strip()
        log.warning(
            "A destination gets almost nothing for want of consent",
            extra={"destination": lane, "barred": barred, "of": total, "signal": signal},
        )

    async def run(self, books: Callable[[], Audit], monotonic: Callable[[], float]) -> None:
        """Look every half minute until cancelled."""
        while True:
            self.look(monotonic(), books())
            await asyncio.sleep(EVERY)


def settled(books: Audit) -> dict[str, tuple[int, int]]:
    """Per lane over all its sources: how many events have an outcome, and how many of them had no consent."""
    sums: dict[str, tuple[int, int]] = {}
    for row in books.lanes:
        total, barred = sums.get(row.lane, (0, 0))
        sums[row.lane] = (total + sum(row.outcomes.values()), barred + row.outcomes.get(_BARRED, 0))
    return sums


def deciding_signal(file: Path, one: Ready) -> str:
    """`Most often: ad_storage is denied (event).` of a destination's newest barred events; "" where none is left to look at."""
    with Window(file) as window:
        rows = [row for row in window.newest(SAMPLE) if row.source in one.config.sources]
        fates = window.fates(row.number for row in rows)
    words: Counter[str] = Counter()
    for row in rows:
        fate = fates[row.number].get(one.config.name)
        if fate and fate.ending and (str(fate.ending.outcome), fate.ending.reason) == _BARRED:
            words.update(_why(row, one))
    return f"Most often: {words.most_common(1)[0][0]}." if words else ""


def _why(row: Logged, one: Ready) -> list[str]:
    try:
        consent = orjson.loads(row.body).get("consent", {})
    except orjson.JSONDecodeError:
        return []
    why = refuses(consent, one.need)
    return [why] if why else []
