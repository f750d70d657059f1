"""From the parts of an event to what the store is told about it, once.

A `Work` is one event in a lane's hands. Each of its parts ends in one of three ways: `done` (it has an ending), `again` (it
is to be sent later) or `back` (it was not tried, or not judged, and nothing is known). When the last part is in, the event
is settled with the worst ending of its parts; while one waits, with a retry row that names the parts still to be sent and
keeps the worst ending so far; and if nothing was learnt at all it is released as it was.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from gateway.deliver import retry
from gateway.destination import Part
from gateway.event import Event
from gateway.outcomes import Ending, Outcome, worst
from gateway.queue.base import RetryState, Settlement, Taken

AUTH_WAIT = 300.0
"""A refused event waits no longer than this by itself: the pause of the lane is what paces it."""


@lru_cache(maxsize=256)
def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Piece:
    """A part with the event it belongs to."""

    __slots__ = ("part", "work")

    def __init__(self, work: Work, part: Part) -> None:
        self.work, self.part = work, part


class Work:
    """One event from `take` to its settlement."""

    __slots__ = (
        "_alone", "_asked", "_back", "_ended", "_left", "_tried", "_why",
        "event", "people", "taken", "time", "unsent", "worst",
    )  # fmt: skip

    def __init__(self, taken: Taken, event: Event) -> None:
        self.taken, self.event = taken, event
        self.time = _moment(event.data["time"])
        self.people: list[bytes] | None = None
        self.worst: Ending | None = taken.retry.worst if taken.retry else None
        self.unsent = 0
        self._left: list[int] = []
        self._back: list[int] = []
        self._ended = False
        self._tried = 0
        self._alone = False
        self._why: Ending | None = None
        self._asked: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Source and sequence number."""
        return self.taken.source, self.taken.seq

    def pieces(self, parts: list[Part]) -> list[Piece]:
        """The parts that are still to be sent, as pieces; from now on each of them must come in."""
        wanted = self.taken.retry.parts if self.taken.retry else None
        chosen = parts if wanted is None else [part for part in parts if part.index in wanted]
        self.unsent = len(chosen)
        return [Piece(self, part) for part in chosen]

    def done(self, ending: Ending) -> bool:
        """A part has its ending. True when it was the last one to come in."""
        self.worst = worst(self.worst, ending)
        self._ended = True
        self.unsent -= 1
        return not self.unsent

    def again(self, index: int, why: Ending, tries: int, retry_after: float | None = None) -> bool:
        """A part failed for now, after `tries` requests."""
        self._left.append(index)
        self._why, self._tried = why, max(self._tried, tries)
        if retry_after is not None:
            self._asked = max(self._asked or 0.0, retry_after)
        self.unsent -= 1
        return not self.unsent

    def alone(self, index: int) -> bool:
        """A part is to be sent at once in a request of its own; it was not tried."""
        self._left.append(index)
        self._alone = True
        self.unsent -= 1
        return not self.unsent

    def back(self, index: int) -> bool:
        """A part was not tried."""
        self._back.append(index)
        self.unsent -= 1
        return not self.unsent

    def ended(self, ending: Ending) -> Settlement:
        """The settlement of an event that has no part to send (any more)."""
        return Settlement(self.taken, self.event.id, worst(self.worst, ending))

    def settlement(self, now: float, stoppages: retry.Stoppages, rng: random.Random) -> Settlement | None:
        """What the store is told now that the last part is in; None when the event is to be released as it was."""
        if not self._left and not self._back:
            return Settlement(self.taken, self.event.id, self.worst)
        if not self._left and not self._ended:
            return None
        state = self._waiting(now, stoppages, rng)
        if state.why and self._tried and retry.is_dead(state.tries, state.first_at, now):
            dead = Ending(Outcome.DEAD, state.why.reason, state.why.detail)
            return Settlement(self.taken, self.event.id, worst(self.worst, dead))
        return Settlement(self.taken, self.event.id, retry=state)

    def _waiting(self, now: float, stoppages: retry.Stoppages, rng: random.Random) -> RetryState:
        """The retry row: counted as a try only where a request failed."""
        before = self.taken.retry or RetryState(due=now)
        waiting = replace(
            before,
            due=now,
            parts=tuple(sorted({*self._left, *self._back})),
            worst=self.worst,
            alone=self._alone or before.alone,
            why=self._why or before.why,
        )
        if not self._tried:
            return waiting
        tries = before.tries + self._tried
        wait = retry.wait(tries, self._asked, rng)
        if self._why and self._why.reason == "auth":
            wait = min(wait, AUTH_WAIT)
        first = before.first_at + stoppages.overlap(before.due, now) if before.tries else now
        return replace(waiting, due=now + wait, tries=tries, first_at=first)
